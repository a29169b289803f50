// SPDX-License-Identifier: MIT

//go:build !amd64 && !arm64

package fdguard

import "runtime"

// callers stores the return addresses of its caller's callers.
func callers(pcs *[maxFrames]uintptr) int { return runtime.Callers(2, pcs[:]) }
