// SPDX-License-Identifier: MIT

//go:build !linux

package tcpdrain

import "time"

func cpuTime() time.Duration { return 0 }
