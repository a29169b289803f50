// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import "syscall"

const (
	errTextBusy   = syscall.ETXTBSY
	errExecFormat = syscall.ENOEXEC
)
