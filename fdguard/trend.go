// SPDX-License-Identifier: MIT

package fdguard

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Sample is how much was open at one time.
type Sample struct {
	Time        time.Time
	Tracked     int
	ProcessOpen int // -1 if unknown
}

// A trend keeps samples since the first handle, without a goroutine: an open or a
// snapshot takes the next one if it is due. When full it drops every other sample
// and doubles the interval, so that it always spans the whole time.
type trend struct {
	due      atomic.Int64 // time of the next sample, in Unix nanoseconds
	mu       sync.Mutex
	interval time.Duration
	samples  []Sample
}

const maxSamples = 240

// sampleTrend takes a sample if one is due at now.
func (r *registry) sampleTrend(now time.Time) {
	t := &r.trend
	if now.UnixNano() < t.due.Load() || !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if t.interval == 0 {
		t.interval = time.Second
	}
	if len(t.samples) == maxSamples {
		kept := t.samples[:0]
		for i := 0; i < maxSamples; i += 2 {
			kept = append(kept, t.samples[i])
		}
		t.samples, t.interval = kept, 2*t.interval
	}
	t.samples = append(t.samples, Sample{now, int(r.table.handles.Load()), processOpen()})
	t.due.Store(now.Add(t.interval).UnixNano())
}

func (t *trend) list() []Sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.samples)
}
