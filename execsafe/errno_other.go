// SPDX-License-Identifier: MIT

//go:build !unix

package execsafe

import "syscall"

const (
	errTextBusy   = syscall.Errno(32)  // ERROR_SHARING_VIOLATION
	errExecFormat = syscall.Errno(193) // ERROR_BAD_EXE_FORMAT
)
