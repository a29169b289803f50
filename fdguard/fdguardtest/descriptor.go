// SPDX-License-Identifier: MIT

package fdguardtest

import "fmt"

// A Descriptor is one open descriptor of the process that no guard owns.
type Descriptor struct {
	FD int
	// Name is what the kernel calls it: on Linux the text of /proc/self/fd/N, such
	// as "/var/log/x", "socket:[4711]" or "anon_inode:[eventpoll]"; elsewhere its
	// type, such as "socket" or "regular file 1:4711".
	Name string

	dev, ino uint64
}

func (d Descriptor) String() string { return fmt.Sprintf("fd %d: %s", d.FD, d.Name) }

// A descriptorSet holds descriptors with their identity. A number that was closed
// and given out again for something else is a different descriptor.
type descriptorSet map[Descriptor]bool

func setOf(ds []Descriptor) descriptorSet {
	set := make(descriptorSet, len(ds))
	for _, d := range ds {
		set[d] = true
	}
	return set
}
