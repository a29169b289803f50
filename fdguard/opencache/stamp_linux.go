// SPDX-License-Identifier: MIT

package opencache

import (
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A stamp is what fstat(2) says of a file that differs when the file was changed.
type stamp struct {
	modified, inodeChange unix.Timespec // anybody can set the first; not every file system has the second
}

func stampOf(f *fdguard.File) (s stamp, err error) {
	err = f.Do(func(fd uintptr) error {
		var st unix.Stat_t
		err := unix.Fstat(int(fd), &st)
		s = stamp{st.Mtim, st.Ctim}
		return err
	})
	return s, err
}

func (s stamp) changed() time.Time {
	m, c := time.Unix(s.modified.Unix()), time.Unix(s.inodeChange.Unix())
	if m.After(c) {
		return m
	}
	return c
}

// sameAccess reports whether nothing was changed that decides who may read a file. That
// is more than the mode, and more than stat(2) tells, but all of it leaves a new time
// of change. So does a write, which then costs an open in vain.
func sameAccess(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && x.Ctim == y.Ctim
}
