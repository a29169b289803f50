// SPDX-License-Identifier: MIT

package outbox

import (
	"fmt"
	"slices"
)

// A Loss is what a queue could not, or was told not to, deliver.
type Loss struct {
	Records uint64  // records lost in all
	Ranges  []Range // which ones, in the order of discovery; the first 1,024 ranges
	// Torn counts bytes that Open cut from the end of the queue: records that were
	// being appended, or had not been made durable, when the machine went down.
	Torn int64
	// Foreign counts segment files that Open set aside, renamed to *.foreign, since
	// they belong to another queue.
	Foreign int
}

// A Range is a run of lost records.
type Range struct {
	First, Last uint64 // sequence numbers
	Records     uint64 // how many: fewer than Last-First+1 if numbers were left out
	Reason      Reason
}

// A Reason says how records were lost.
type Reason int

const (
	Damaged Reason = iota // their bytes on disk, or their segment file, are damaged or gone
	Dropped               // given up under DropOldest
)

func (r Reason) String() string {
	if r == Dropped {
		return "dropped"
	}
	return "damaged"
}

// A CorruptError says which records [Queue.Next] found damaged under [Stop].
// It unwraps to [ErrCorrupt].
type CorruptError struct {
	First, Last uint64 // the damaged records
	Segment     string // name of the file in which the next intact record or the end was found
	Offset      int64  // where
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %d to %d, before offset %d of %s", ErrCorrupt, e.First, e.Last, e.Offset, e.Segment)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

const maxRanges = 1024

// add counts the records of s.
func (l *Loss) add(s span, why Reason) {
	l.Records += s.count()
	if n := len(l.Ranges); n > 0 && l.Ranges[n-1].Last+1 == s.lo && l.Ranges[n-1].Reason == why {
		l.Ranges[n-1].Last = s.end - 1
		l.Ranges[n-1].Records += s.count()
	} else if n < maxRanges {
		l.Ranges = append(l.Ranges, Range{s.lo, s.end - 1, s.count(), why})
	}
}

// Loss returns what has been lost since Open, as far as it is known: damage inside
// the queue is discovered when Next gets there.
func (q *Queue) Loss() Loss {
	q.amu.Lock()
	defer q.amu.Unlock()
	l := q.loss
	l.Ranges = slices.Clone(l.Ranges)
	return l
}

// lose counts the damaged records of s, and takes them as acknowledged: there is
// nothing left of them to deliver. It needs amu.
func (q *Queue) lose(s span) error {
	if s.lo < q.acks.floor {
		if s.end <= q.acks.floor {
			return nil
		}
		s.lo, s.ord = q.acks.floor, q.acks.floorOrd
	}
	if q.acks.has(s.lo) { // discovered before
		return nil
	}
	_, err := q.settleAcks(s)
	if err != nil {
		return err
	}
	q.loss.add(s, Damaged)
	q.log.Warn("outbox: records lost to damage", "dir", q.dir, "first", s.lo, "last", s.end-1, "records", s.count())
	return nil
}
