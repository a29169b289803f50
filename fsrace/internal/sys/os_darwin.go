// SPDX-License-Identifier: MIT

package sys

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

func mtime(st *syscall.Stat_t) int64 { return st.Mtimespec.Nano() }

// RenameNoReplace is renameatx_np(2) with RENAME_EXCL: APFS and HFS+ have it.
func (OS) RenameNoReplace(from, to string) error {
	err := retry(func() error {
		return unix.RenameatxNp(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCL)
	})
	if err == unix.EINVAL || err == unix.ENOTSUP || err == unix.ENOSYS {
		return fmt.Errorf("renameatx_np: %w", unix.ENOSYS)
	}
	return err
}
