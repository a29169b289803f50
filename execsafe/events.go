// SPDX-License-Identifier: MIT

package execsafe

import (
	"fmt"
	"sync"
	"time"
)

// events calls OnEvent from a goroutine of its own, so that it can neither slow
// the run down nor hold it up. What waits is bounded: growth of the output is merged
// into the last event if that has not been delivered, and the others happen once.
type events struct {
	p    *Process
	wake chan struct{} // has room for one
	gone chan struct{} // closed when OnEvent will not be called again

	mu     sync.Mutex
	queue  []Event
	closed bool
	called time.Time // when the call began that has not returned; zero: none
}

func startEvents(p *Process) *events {
	e := &events{p: p, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	go e.run()
	return e
}

func (e *events) post(ev Event) {
	e.mu.Lock()
	if n := len(e.queue); n > 0 && ev.Kind == EventOutput && e.queue[n-1].Kind == EventOutput {
		e.queue[n-1] = ev
	} else {
		e.queue = append(e.queue, ev)
	}
	e.mu.Unlock()
	e.signal()
}

func (e *events) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *events) run() {
	inside := false
	defer func() {
		if v := recover(); v != nil {
			e.p.fail(WriterFailed, fmt.Errorf("%w: OnEvent: panic: %v", ErrWriter, v))
		} else if inside {
			e.p.fail(WriterFailed, fmt.Errorf("%w: OnEvent ended its goroutine", ErrWriter))
		}
		close(e.gone)
	}()
	for {
		e.mu.Lock()
		queue, closed := e.queue, e.closed
		e.queue = nil
		e.mu.Unlock()
		for _, ev := range queue {
			inside = true
			e.calling(time.Now())
			e.p.r.OnEvent(ev)
			e.calling(time.Time{})
			inside = false
		}
		if len(queue) > 0 {
			continue
		}
		if closed {
			return
		}
		<-e.wake
	}
}

func (e *events) calling(since time.Time) {
	e.mu.Lock()
	e.called = since
	e.mu.Unlock()
}

// finish waits until all is delivered, and reports whether it was in time: for the
// patience of a call, but no longer than most.
func (e *events) finish(most time.Duration) bool {
	e.mu.Lock()
	e.closed = true
	called := e.called
	e.mu.Unlock()
	e.signal()
	timer := time.NewTimer(min(most, e.p.patience(called)))
	defer timer.Stop()
	select {
	case <-e.gone:
		return true
	case <-timer.C:
		return false
	}
}
