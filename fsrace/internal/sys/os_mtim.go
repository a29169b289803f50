// SPDX-License-Identifier: MIT

//go:build unix && !linux && !darwin && !freebsd && !netbsd

package sys

import "syscall"

func mtime(st *syscall.Stat_t) int64 { return st.Mtim.Nano() }
