// SPDX-License-Identifier: MIT

package execsafetest

import (
	"os"
	"syscall"
)

func exitState(code int) *os.ProcessState {
	return state(syscall.WaitStatus{ExitCode: uint32(code)})
}

func terminated() *os.ProcessState { return exitState(1) }
func brokenPipe() *os.ProcessState { return exitState(141) }
