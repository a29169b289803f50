// SPDX-License-Identifier: MIT

//go:build unix

package opencache

import "syscall"

const nonblock = syscall.O_NONBLOCK
