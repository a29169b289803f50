// SPDX-License-Identifier: MIT

package outbox

import (
	"context"
	"errors"
)

// A Record is one message of the queue.
type Record struct {
	Seq  uint64 // as returned by Append
	Data []byte // the caller's to keep and change; empty for an empty record
}

// Next returns the next record and moves on; it waits for one if there is none.
// The record stays in the queue, and is delivered again after [Queue.Rewind] or
// the next [Open], until it is acknowledged. Concurrent callers get different
// records. A record that can be returned at once is, even if ctx is done.
//
// It returns [context.Cause] of ctx, [net.ErrClosed], under [Stop] a
// [*CorruptError], or what the file system said: the position is unchanged then,
// and Next may be called again.
func (q *Queue) Next(ctx context.Context) (Record, error) {
	for {
		if rec, ok, err := q.TryNext(); ok || err != nil {
			return rec, err
		}
		arrived := q.arrived.wait()
		if rec, ok, err := q.TryNext(); ok || err != nil {
			return rec, err
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return Record{}, context.Cause(ctx)
		}
	}
}

// TryNext is Next without the wait: it reports whether there was a record.
func (q *Queue) TryNext() (rec Record, ok bool, err error) {
	q.rmu.Lock()
	defer q.rmu.Unlock()
	for {
		if err := q.err(); err != nil {
			return Record{}, false, err
		}
		if q.reader.seq < q.trailSeq.Load() {
			if err := q.rewind(); err != nil {
				return Record{}, false, err
			}
		}
		was := q.reader.place()
		fr, _, lost, ok, err := q.reader.next()
		if err != nil || !ok && lost.count() == 0 {
			return Record{}, false, err
		}
		if lost.count() > 0 {
			if q.cfg.OnCorrupt == Stop && q.lacks(lost) {
				e := &CorruptError{First: lost.lo, Last: lost.end - 1, Segment: q.reader.seg.name(), Offset: q.reader.off - fr.size}
				return Record{}, false, errors.Join(e, q.reader.moveTo(was))
			}
			if err := q.skip(lost); err != nil {
				return Record{}, false, errors.Join(err, q.reader.moveTo(was))
			}
		}
		if !ok || q.isAcked(fr.seq) {
			continue
		}
		if !fr.own {
			fr.msg = append(make([]byte, 0, len(fr.msg)), fr.msg...)
		}
		return Record{Seq: fr.seq, Data: fr.msg}, true, nil
	}
}

// Rewind goes back to the oldest unacknowledged record, so that all those which
// were delivered and not acknowledged are delivered again.
func (q *Queue) Rewind() error {
	q.rmu.Lock()
	defer q.rmu.Unlock()
	if err := q.err(); err != nil {
		return err
	}
	err := q.rewind()
	q.arrived.open() // for those who wait in Next behind the position
	return err
}

// rewind moves the reader to where the trail is. It needs rmu.
func (q *Queue) rewind() error {
	q.amu.Lock()
	defer q.amu.Unlock()
	return q.reader.moveTo(q.trail.place())
}

func (q *Queue) lacks(lost span) bool {
	q.amu.Lock()
	defer q.amu.Unlock()
	return q.acks.lacks(lost) > 0
}

func (q *Queue) skip(lost span) error {
	q.amu.Lock()
	defer q.amu.Unlock()
	return q.lose(lost)
}

// isAcked reports whether record seq, at the reader, need not be delivered.
func (q *Queue) isAcked(seq uint64) bool {
	if seq >= q.floor.Load() && !q.scatter.Load() {
		return false
	}
	q.amu.Lock()
	defer q.amu.Unlock()
	return q.acks.has(seq)
}
