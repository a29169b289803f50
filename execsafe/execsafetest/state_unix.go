// SPDX-License-Identifier: MIT

//go:build unix

package execsafetest

import (
	"os"
	"syscall"
)

// See wait(2) for the layout of a status.

func exitState(code int) *os.ProcessState { return state(syscall.WaitStatus(code&0xff) << 8) }
func terminated() *os.ProcessState        { return state(syscall.WaitStatus(syscall.SIGTERM)) }
func brokenPipe() *os.ProcessState        { return state(syscall.WaitStatus(syscall.SIGPIPE)) }
