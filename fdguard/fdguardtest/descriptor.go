// SPDX-License-Identifier: MIT

package fdguardtest

import "fmt"

// A Descriptor is one open descriptor of the process. Two are equal if number, name
// and file are: a number that was closed and given out again for something else is a
// different descriptor.
type Descriptor struct {
	FD int
	// Name is what the kernel calls it: on Linux the text of /proc/self/fd/N, such
	// as "/var/log/x", "socket:[4711]" or "anon_inode:[eventpoll]"; elsewhere its
	// type, such as "socket" or "regular file 1:4711".
	Name string

	dev, ino uint64
}

func (d Descriptor) String() string { return fmt.Sprintf("fd %d: %s", d.FD, d.Name) }
