// SPDX-License-Identifier: MIT

//go:build amd64 || arm64

package fdguard

import "runtime"

// framePCs follows the frame pointers, from the caller's on, and stores up to 16
// return addresses. It reports whether it came to the end, or to 16.
//
// runtime.Callers takes as long as the open itself. The chain of frame pointers is
// what the runtime's tracer and its mutex profile walk instead. Where code of
// others has broken it, the walk stops: it goes outwards only, and not out of the
// 4 MiB around the stack pointer, of which the heap is made.
//
//go:noescape
func framePCs(pcs *[maxFrames]uintptr) (n int, whole bool)

// callers stores the return addresses of its caller's callers.
//
//go:noinline
func callers(pcs *[maxFrames]uintptr) int {
	if n, whole := framePCs(pcs); whole {
		return n
	}
	*pcs = [maxFrames]uintptr{}
	return runtime.Callers(2, pcs[:])
}
