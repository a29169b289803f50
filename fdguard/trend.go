// SPDX-License-Identifier: MIT

package fdguard

import (
	"sync"
	"time"
)

// A Sample is how much was open at one time.
type Sample struct {
	Time        time.Time
	Tracked     int
	ProcessOpen int // -1 if unknown
}

type trend struct {
	mu      sync.Mutex
	samples []Sample
}
