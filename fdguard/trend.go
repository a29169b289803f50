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
	due      atomic.Int64 // time of the next sample, as [now] gives it
	mu       sync.Mutex
	interval time.Duration
	samples  []Sample
}

const maxSamples = 240

// sampleTrend takes a sample if one is due at now.
func (r *registry) sampleTrend(now int64) {
	t := &r.trend
	if now < t.due.Load() || !t.mu.TryLock() {
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
	handles, _ := r.table.count()
	t.samples = append(t.samples, Sample{started.Add(time.Duration(now)), handles, processOpen()})
	t.due.Store(now + int64(t.interval))
}

func (t *trend) list() []Sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.samples)
}
