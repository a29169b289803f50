// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"fmt"
	"slices"
	"sort"
)

const maxSpans = 16384

// acks is what has been acknowledged: all records below floor, and those in spans.
// It takes memory for the gaps between acknowledged records, not for records.
type acks struct {
	floor    uint64 // oldest unacknowledged record
	floorOrd uint64 // its ordinal
	spans    []span // above floor, ascending, not touching
	above    uint64 // records in spans
}

// has reports whether record seq is acknowledged.
func (a *acks) has(seq uint64) bool {
	i := a.after(seq)
	return seq < a.floor || i < len(a.spans) && a.spans[i].lo <= seq
}

// after is the index of the first span that ends above seq.
func (a *acks) after(seq uint64) int {
	return sort.Search(len(a.spans), func(i int) bool { return a.spans[i].end > seq })
}

// lacks counts the records of s that are not acknowledged.
func (a *acks) lacks(s span) uint64 {
	from := max(s.ord, a.floorOrd)
	if s.ordEnd <= from {
		return 0
	}
	n := s.ordEnd - from
	for i := a.after(s.lo); i < len(a.spans) && a.spans[i].lo < s.end; i++ {
		n -= min(s.ordEnd, a.spans[i].ordEnd) - max(s.ord, a.spans[i].ord)
	}
	return n
}

// add marks the records of s as acknowledged, whether or not some already are.
func (a *acks) add(s span) error {
	if s.end <= a.floor {
		return nil
	}
	if s.lo < a.floor {
		s.lo, s.ord = a.floor, a.floorOrd
	}
	// [i, j) are the spans that s overlaps or touches.
	i := sort.Search(len(a.spans), func(i int) bool { return a.spans[i].end >= s.lo })
	j := i
	for ; j < len(a.spans) && a.spans[j].lo <= s.end; j++ {
		t := a.spans[j]
		if t.lo < s.lo {
			s.lo, s.ord = t.lo, t.ord
		}
		if t.end > s.end {
			s.end, s.ordEnd = t.end, t.ordEnd
		}
	}
	if i == j && s.lo > a.floor && len(a.spans) >= maxSpans {
		return ErrGaps
	}
	for _, t := range a.spans[i:j] {
		a.above -= t.count()
	}
	if s.lo == a.floor {
		a.floor, a.floorOrd = s.end, s.ordEnd
		a.spans = slices.Delete(a.spans, i, j) // i is 0
		return nil
	}
	a.above += s.count()
	a.spans = slices.Replace(a.spans, i, j, s)
	return nil
}

// Ack acknowledges record seq, so that it is not delivered again. Records may be
// acknowledged in any order, from any goroutine, and more than once. Disk space is
// given back in the order of the queue.
//
// When Ack has returned the acknowledgement survives the death of the process, as
// long as no more than 123 gaps stand between acknowledged records. It survives a
// power cut once the cursor has been made durable, which happens each 2,500
// acknowledgements or second, or as [Every] says, and on Sync and Close; until
// then a power cut makes the queue deliver the record again.
//
// It returns [ErrUnknownSeq], [ErrGaps] or [net.ErrClosed]; or else what the file
// system said when it could not note the acknowledgement, which then holds for as
// long as this Queue is open: call Ack again to have it noted.
func (q *Queue) Ack(seq uint64) error {
	return q.ackRange(seq, seq)
}

// ackRange acknowledges all records from first to last.
func (q *Queue) ackRange(first, last uint64) error {
	moved, err := q.ack(first, last)
	if moved {
		q.sweep() // a failure poisons the queue, and does not undo the acknowledgement
	}
	return err
}

func (q *Queue) ack(first, last uint64) (moved bool, err error) {
	q.amu.Lock()
	defer q.amu.Unlock()
	if err := q.err(); err != nil {
		return false, err
	}
	from, ok := q.ordinal(first)
	to, ok2 := q.ordinal(last)
	if !ok || !ok2 {
		return false, fmt.Errorf("%w: %d", ErrUnknownSeq, first)
	}
	if first == last && q.acks.has(first) && q.trail.seq >= q.acks.floor && !q.cursor.behind {
		return false, nil
	}
	return q.settleAcks(span{first, last + 1, from, to + 1})
}

// settleAcks marks s as acknowledged and moves what follows from it: the trail,
// the cursor. It needs amu.
func (q *Queue) settleAcks(s span) (moved bool, err error) {
	if err := q.acks.add(s); err != nil {
		return false, err
	}
	q.acked.Add(1)
	q.arm()
	moved = q.trail.seq < q.acks.floor
	if moved {
		err = q.advance()
		q.freed.open()
	}
	q.scatter.Store(len(q.acks.spans) > 0)
	return moved, errors.Join(err, q.cursor.keep(q.state(false)))
}

// advance moves the trail to the floor, and the floor past damage that begins below
// it: whoever acknowledged a record there will not read up to the end of it. It
// needs amu.
func (q *Queue) advance() error {
	for {
		lost, err := q.trailToFloor()
		if err != nil {
			return err
		}
		if lost.count() == 0 {
			break
		}
		if err := q.count(lost); err != nil {
			return err
		}
	}
	q.floor.Store(q.acks.floor)
	q.trailPos.Store(max(q.trail.seg.at(q.trail.off), 0))
	q.trailSeq.Store(q.trail.seq)
	return nil
}

// trailToFloor moves the trail to the floor. If the records from there on are part
// of damage that begins before, it moves the trail behind them and returns them;
// under Stop it leaves the trail where the damage begins.
func (q *Queue) trailToFloor() (lost span, err error) {
	seg := q.floorSegment()
	w, floor := &q.trail, q.acks.floor
	if seg.first > w.seg.first { // nothing to read in the segments before
		if err := w.enter(seg, segmentHeader, seg.first); err != nil {
			return lost, err
		}
		w.ord = seg.ord
	}
	for w.seq < floor {
		was := w.place()
		fr, ord, _, ok, err := w.next()
		if err != nil {
			return lost, err
		}
		if ok && fr.seq >= floor {
			w.off, w.seq, w.ord = w.off-fr.size, fr.seq, ord
		}
		if w.seq <= floor {
			continue
		}
		if q.cfg.OnCorrupt == Skip {
			return span{floor, w.seq, q.acks.floorOrd, w.ord}, nil
		}
		was.seq, was.ord = floor, q.acks.floorOrd
		if was.seg.first != w.seg.first {
			return lost, w.moveTo(was)
		}
		w.tried = w.off // lest the next call search the same bytes again
		w.off, w.seq, w.ord = int64(was.off), was.seq, was.ord
	}
	return lost, nil
}

// floorSegment returns the segment that has the floor, or none if its segment is
// missing. It takes the floor past sequence numbers that no record was given.
func (q *Queue) floorSegment() (seg segment) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := sort.Search(len(q.segs), func(i int) bool { return q.segs[i].first > q.acks.floor })
	for ; i < len(q.segs) && q.segs[i].ord <= q.acks.floorOrd; i++ {
		q.acks.add(span{q.acks.floor, q.segs[i].first, q.acks.floorOrd, q.acks.floorOrd})
	}
	q.passed.Store(i > 1)
	if i > 0 {
		seg = q.segs[i-1]
	}
	return seg
}

// ordinal returns the ordinal of record seq, if there ever was one.
func (q *Queue) ordinal(seq uint64) (ord uint64, ok bool) {
	if seq == 0 || seq >= q.nextSeq.Load() {
		return 0, false
	}
	if seq < q.acks.floor {
		return 0, true // acknowledged before, nobody asks for its ordinal
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := sort.Search(len(q.segs), func(i int) bool { return q.segs[i].first > seq })
	if i == 0 {
		return q.acks.floorOrd + seq - q.acks.floor, true
	}
	ord = q.segs[i-1].ord + seq - q.segs[i-1].first
	return ord, i == len(q.segs) || ord < q.segs[i].ord
}
