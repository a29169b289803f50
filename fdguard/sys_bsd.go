// SPDX-License-Identifier: MIT

//go:build unix && !linux

package fdguard

import (
	"errors"
	"os"
)

// POSIX, and these systems, write at the offset given even in append mode.
const appendsAtOffset = false

var realSys = sys{open: openPortable, close: (*os.File).Close, reopen: noReopen, prepare: prepare, identify: identify}

func noReopen(uintptr) (uintptr, error) { return 0, errors.ErrUnsupported }

func describe(fd uintptr) fileID { return identify(fd) }

// processOpen counts /dev/fd, which on some systems shows the standard three only.
func processOpen() int {
	d, err := os.Open("/dev/fd")
	if err != nil {
		return -1
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil || len(names) <= 3 {
		return -1
	}
	return len(names) - 1
}
