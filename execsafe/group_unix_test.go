// SPDX-License-Identifier: MIT

//go:build unix && !linux

package execsafe

import "syscall"

func countGroup(pgid int) int {
	if syscall.Kill(-pgid, 0) == nil {
		return 1
	}
	return 0
}
