// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
)

// settle does what the sync policy asks for once record seq is appended.
func (q *Queue) settle(seq uint64) error {
	q.arrived.open()
	if q.cfg.Sync == Always {
		return q.commit(seq + 1)
	}
	if q.every.Records > 0 && seq+1-q.durable.Load() >= uint64(q.every.Records) {
		return q.commit(seq + 1)
	}
	return nil
}

// commit makes all records below next durable. One caller at a time leads and
// syncs for those who have appended by then; the others wait for the round to end.
func (q *Queue) commit(next uint64) error {
	for q.durable.Load() < next {
		lead, over := q.round.join()
		if !lead {
			<-over
			continue
		}
		runtime.Gosched() // those whom the last round released append first, and come along
		q.smu.Lock()
		err := q.commitLocked(next)
		q.smu.Unlock()
		q.round.end()
		if err != nil {
			return err
		}
	}
	return nil
}

// A round elects one of those who join it to lead, until it ends the round.
type round struct {
	mu   sync.Mutex
	over chan struct{} // nil while nobody leads
}

func (r *round) join() (lead bool, over <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over != nil {
		return false, r.over
	}
	r.over = make(chan struct{})
	return true, r.over
}

func (r *round) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.over)
	r.over = nil
}

func (q *Queue) commitLocked(next uint64) error {
	if q.durable.Load() >= next {
		return nil
	}
	if err := q.poisoned(); err != nil {
		return err
	}
	if q.done.Load() {
		return net.ErrClosed
	}
	if err := q.syncSealed(); err != nil || q.durable.Load() >= next {
		return err
	}
	q.mu.Lock()
	f, upTo := q.tail.f, q.nextSeq.Load()
	q.mu.Unlock()
	if err := f.sync(); err != nil {
		return q.poison(err)
	}
	q.durable.Store(upTo)
	return nil
}

// syncSealed makes the complete segment durable, if there is one that is not yet, and
// the name of the tail's, which was begun after it. It needs smu.
func (q *Queue) syncSealed() error {
	if q.sealed == nil {
		return nil
	}
	if err := q.poisoned(); err != nil {
		return err
	}
	f := q.sealed
	q.sealed = nil
	if err := errors.Join(f.sync(), f.Close(), q.disk.syncDir(q.dir)); err != nil {
		return q.poison(err)
	}
	q.durable.Store(q.sealedEnd)
	return nil
}

// Sync makes everything durable: the records appended and the acknowledgements
// made before the call. It returns [ErrPoisoned], [net.ErrClosed], or what the file
// system said when it could not take the acknowledgements: the records are durable
// then, and Sync may be called again.
func (q *Queue) Sync() error {
	q.smu.Lock()
	defer q.smu.Unlock()
	if err := q.err(); err != nil {
		return err
	}
	if err := q.poisoned(); err != nil {
		return err
	}
	if err := q.commitLocked(q.nextSeq.Load()); err != nil {
		return err
	}
	return q.checkpoint()
}

// checkpoint makes the cursor durable, and then removes the segments that it has
// passed. It needs smu.
func (q *Queue) checkpoint() error {
	if err := q.poisoned(); err != nil {
		return err
	}
	q.amu.Lock()
	acked, s := q.acked.Load(), q.state(false)
	s.spans = slices.Clone(s.spans) // Ack changes them
	q.amu.Unlock()
	if acked == q.ackedSync.Load() {
		return nil
	}
	if err := q.cursor.save(q, s); err != nil {
		return err
	}
	q.ackedSync.Store(acked)
	return q.removeBelow(s.floor)
}

// removeBelow removes the segments whose records are all below floor, which the
// durable cursor has passed. If a crash brings back a removed one, Open sees that
// it is below the cursor.
func (q *Queue) removeBelow(floor uint64) error {
	for {
		q.mu.Lock()
		if len(q.segs) < 2 || q.segs[1].first > floor {
			q.passed.Store(false)
			q.mu.Unlock()
			return nil
		}
		seg := q.segs[0]
		q.segs = q.segs[1:]
		q.mu.Unlock()
		if err := q.disk.remove(filepath.Join(q.dir, seg.name())); err != nil {
			return err
		}
	}
}

// sweep makes the cursor durable when it is time: a segment can be removed, or
// many records have been acknowledged since.
func (q *Queue) sweep() error {
	due := q.passed.Load() || q.every.Records > 0 && q.acked.Load()-q.ackedSync.Load() >= uint64(q.every.Records)
	if !due {
		return nil
	}
	q.smu.Lock()
	defer q.smu.Unlock()
	if q.done.Load() {
		return nil
	}
	return q.checkpoint()
}

// arm starts the clock for what has just become undurable, unless it runs.
func (q *Queue) arm() {
	if q.timer != nil && !q.armed.Load() && q.armed.CompareAndSwap(false, true) {
		q.timer.Reset(q.every.Interval)
	}
}

func (q *Queue) startTimer() {
	if q.every.Interval > 0 {
		q.timer = time.AfterFunc(time.Hour, func() {
			q.armed.Store(false) // before looking at what there is to sync
			if err := q.Sync(); err != nil && q.err() == nil && q.poisoned() == nil {
				q.log.Warn("outbox: acknowledgements are not durable yet; trying again", "dir", q.dir, "err", err)
				q.arm()
			}
		})
		q.timer.Stop()
	}
}
