// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// performHere plays the steps that only Linux has.
func performHere(verb, arg string, n int) bool {
	switch verb {
	case "threads":
		fmt.Print(threadsOf(n))
	case "osthreads":
		fmt.Print(osThreadsOf(n))
	case "bigpipe":
		unix.FcntlInt(1, unix.F_SETPIPE_SZ, n)
	case "ignorechld":
		fmt.Print(runWithoutSIGCHLD())
	case "nofiles":
		fmt.Print(runWithoutDescriptors())
	case "spilllimit":
		fmt.Print(runWithFileSizeLimit(arg))
	case "dieparent":
		cmd := exec.Command("sleep", "60")
		p, err := Runner{DieWithParent: true}.Start(context.Background(), cmd)
		if err != nil {
			fmt.Print(err)
			return true
		}
		fmt.Printf("\npid %d\n", p.Pid())
		syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	default:
		return false
	}
	return true
}

func ptr[T any](v *T) unsafe.Pointer { return unsafe.Pointer(v) }
