// SPDX-License-Identifier: MIT

package systest

import (
	"fmt"
	"runtime"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// A Fault is what befalls one call.
type Fault struct {
	Err      error // reported instead of the call's result
	Executed bool  // the call is made all the same: its reply was lost, as over NFS
	Kill     bool  // the process dies before the call, or after it if Executed
}

// Inject returns under with the fault at its nth call, counted from 0, and a
// function that tells which call that was, if it came to it. A Kill ends the
// calling goroutine with runtime.Goexit, so the calls must be made by one that
// [Killable] started.
func Inject(under sys.FS, n int, fault Fault) (faulty sys.FS, hit func() (Call, bool)) {
	var (
		count int
		at    Call
	)
	return Wrap(under, func(c Call, do func() error) error {
			count++
			if count-1 > n && fault.Kill {
				runtime.Goexit() // a dead process makes no calls: not even deferred ones
			}
			if count-1 != n {
				return do()
			}
			at = c
			if fault.Executed || !fault.Kill && c.Op == "close" {
				if err := do(); err != nil {
					return err
				}
			}
			if fault.Kill {
				runtime.Goexit()
			}
			return fault.Err
		}), func() (Call, bool) {
			return at, count > n
		}
}

// Killable runs f in a goroutine of its own, waits for it, and reports whether it
// ran to its end.
func Killable(f func()) (ended bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
		ended = true
	}()
	<-done
	return ended
}

// EachCall calls try with n = 0, 1, 2, … until try reports that the nth call was
// not reached, or an error. It returns how many calls there were.
func EachCall(try func(n int) (hit bool, err error)) (calls int, err error) {
	for n := 0; ; n++ {
		hit, err := try(n)
		if err != nil {
			return n, fmt.Errorf("at call %d: %w", n, err)
		}
		if !hit {
			return n, nil
		}
	}
}
