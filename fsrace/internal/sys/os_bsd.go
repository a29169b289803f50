// SPDX-License-Identifier: MIT

//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package sys

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

func (OS) Chmod(name string, perm fs.FileMode) error {
	return retry(func() error {
		return unix.Fchmodat(unix.AT_FDCWD, name, unixMode(perm), unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (f file) TryLock() error {
	return f.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
}

func (f file) Unlock() error {
	return f.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}
