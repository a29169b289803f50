// SPDX-License-Identifier: MIT

//go:build gc && unix && !purego && (amd64 || arm64)

package fdguard

import "runtime"

// framePCs follows the frame pointers from the given one on, 0 meaning the
// caller's own, and stores up to 16 return addresses. It reports whether it came
// to the end, or to 16.
//
// runtime.Callers adds a third to an open, and up to a tenth to a file served over
// HTTP; half as many frames cost half of that. The chain of frame pointers is
// what the runtime's tracer and its mutex profile walk instead, and what it keeps
// right when it moves a stack. Where code of others has broken the chain (a
// callback from C leads out to the C stack, for one), the walk has to stop before
// it reads what is not mapped. It goes outwards only, and not out of the 4 MiB
// around the stack pointer: goroutine stacks come from the Go heap, and the
// runtime maps that for reading in aligned units of 4 MiB, and never unmaps it.
// (On Windows it commits single pages, so that the walk is not used there.)
//
// The walk is in assembly because only there no preemption can move the stack.
//
//go:noescape
func framePCs(pcs *[maxFrames]uintptr, from uintptr) (n int, whole bool)

// callers stores the return addresses of its caller's callers.
//
//go:noinline
func callers(pcs *[maxFrames]uintptr) int {
	if n, whole := framePCs(pcs, 0); whole {
		return n
	}
	*pcs = [maxFrames]uintptr{}
	return runtime.Callers(2, pcs[:])
}
