// SPDX-License-Identifier: MIT

//go:build freebsd || netbsd

package sys

import "syscall"

func mtime(st *syscall.Stat_t) int64 { return st.Mtimespec.Nano() }
