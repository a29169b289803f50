// SPDX-License-Identifier: MIT

//go:build unix

package fdguard

import "golang.org/x/sys/unix"

// alive reports whether the number is open.
func alive(fd uintptr) bool {
	_, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
	return err == nil
}
