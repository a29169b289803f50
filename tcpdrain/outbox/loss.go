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
	// being appended, or had not been made durable, when the machine went down. Such
	// records in the segment before the last are found to be damaged instead.
	Torn int64
	// Foreign counts segment files that Open set aside, renamed to *.seg.foreign,
	// since they belong to another queue.
	Foreign int
}

// A Range is a run of lost records.
type Range struct {
	First, Last uint64 // sequence numbers
	Records     uint64 // how many: less than Last-First+1 if some were acknowledged, or never given
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

// add counts n of the records of s as lost.
func (l *Loss) add(s span, n uint64, why Reason) {
	l.Records += n
	if k := len(l.Ranges); k > 0 && l.Ranges[k-1].Last+1 == s.lo && l.Ranges[k-1].Reason == why {
		l.Ranges[k-1].Last = s.end - 1
		l.Ranges[k-1].Records += n
	} else if k < maxRanges {
		l.Ranges = append(l.Ranges, Range{s.lo, s.end - 1, n, why})
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

// count counts the records of s as damaged, but for those that are acknowledged, and
// takes them all as acknowledged: there is nothing left to deliver. It needs amu.
func (q *Queue) count(s span) error {
	n := q.acks.lacks(s)
	if err := q.acks.add(s); err != nil {
		return err
	}
	if n > 0 {
		q.loss.add(s, n, Damaged)
		q.log.Warn("outbox: records lost to damage", "dir", q.dir, "first", s.lo, "last", s.end-1, "records", n)
	}
	return nil
}

// lose counts the records of s as damaged and goes on behind them. It needs amu.
func (q *Queue) lose(s span) error {
	if q.acks.lacks(s) == 0 {
		return nil // or discovered before
	}
	if err := q.count(s); err != nil {
		return err
	}
	_, err := q.settleAcks(s)
	return err
}
