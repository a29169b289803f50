// SPDX-License-Identifier: MIT

package sys

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func mtime(st *syscall.Stat_t) int64 { return st.Mtim.Nano() }

// RenameNoReplace is renameat2(2) with RENAME_NOREPLACE, since Linux 3.15.
func (OS) RenameNoReplace(from, to string) error {
	err := retry(func() error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
	if err == unix.EINVAL || err == unix.ENOSYS {
		// EINVAL is also said of a directory renamed into itself, which no caller does.
		return fmt.Errorf("renameat2: %w", unix.ENOSYS)
	}
	return err
}

// Create is one call where opening and closing would be three. An ordinary user may
// make regular files with mknod(2); a sandbox that forbids it all the same gets them
// opened.
func (OS) Create(name string) error {
	err := retry(func() error { return unix.Mknod(name, unix.S_IFREG|0o600, 0) })
	switch err {
	case unix.EPERM, unix.ENOSYS, unix.EOPNOTSUPP:
		return createByOpen(name)
	}
	return err
}

// Chmod goes through /proc: fchmodat2(2), which can refuse to follow a link, is
// of Linux 6.6, and opening for reading needs a permission that may be missing.
func (OS) Chmod(name string, perm fs.FileMode) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return Bare(os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), perm))
}

func (f file) TryLock() error {
	return f.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
}

func (f file) Unlock() error {
	return f.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}
