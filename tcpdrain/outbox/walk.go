// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

// A walker reads records across segments. Between two records it knows what must
// lie between them, and says what of it is missing.
type walker struct {
	q *Queue
	scanner
	seg segment // being read; zero before the first
	ord uint64  // ordinal of the record at scanner.seq
}

// A span is a range of records, [lo, end) by sequence number and [ord, ordEnd) by
// ordinal. Unlike the numbers, the ordinals in it have no gaps.
type span struct{ lo, end, ord, ordEnd uint64 }

func (s span) count() uint64 { return s.ordEnd - s.ord }

// next returns the next intact record and its ordinal. Records found missing
// before it are in lost. Only with !ok and no lost ones is there nothing more yet.
func (w *walker) next() (fr frame, ord uint64, lost span, ok bool, err error) {
	for {
		if w.f != nil {
			seq := w.seq
			if fr, ok, err = w.scanner.next(); err != nil {
				return fr, 0, lost, false, err
			}
			if ok {
				ord = w.ord + fr.seq - seq
				lost = span{seq, fr.seq, w.ord, ord}
				w.ord = ord + 1
				return fr, ord, lost, true, nil
			}
		}
		more, lost, err := w.more()
		if !more || lost.count() > 0 || err != nil {
			return fr, 0, lost, false, err
		}
	}
}

// more lets the walker see what was appended to its segment since, or else moves
// it to the next segment.
func (w *walker) more() (more bool, lost span, err error) {
	q := w.q
	q.mu.Lock()
	i := sort.Search(len(q.segs), func(i int) bool { return q.segs[i].first > w.seg.first })
	if i > 0 && q.segs[i-1].first == w.seg.first && q.segs[i-1].end > w.end && w.f != nil {
		w.end = q.segs[i-1].end
		q.mu.Unlock()
		return true, lost, nil
	}
	if i == len(q.segs) { // at the end of the queue, up to which there should be records
		next, end := q.nextSeq.Load(), q.segs[i-1].end
		q.mu.Unlock()
		if w.seq < next {
			lost = span{w.seq, next, w.ord, w.ord + next - w.seq}
			w.off, w.end, w.seq, w.ord, w.tried = end, end, next, lost.ordEnd, 0
		}
		return false, lost, nil
	}
	seg := q.segs[i]
	q.mu.Unlock()

	seq, ord := w.seq, w.ord
	if err := w.enter(seg, segmentHeader, seg.first); err != nil {
		return false, lost, err
	}
	w.ord = seg.ord
	if seg.ord > ord {
		lost = span{seq, seg.first, ord, seg.ord}
	}
	return true, lost, nil
}

// enter opens seg to be read from off on, where the record seq is expected.
// A segment whose file is gone is entered too, and has no records.
func (w *walker) enter(seg segment, off int64, seq uint64) error {
	f, err := w.q.disk.open(filepath.Join(w.q.dir, seg.name()), os.O_RDONLY)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.close()
	w.seg, w.f, w.salt = seg, f, seg.salt(w.q.id)
	w.off, w.end, w.seq, w.tried = off, seg.end, seq, 0
	w.buf = w.buf[:0]
	return nil
}

// A place is a walker's position: before the record seq.
type place struct {
	seg      segment
	off      uint64
	seq, ord uint64
}

func (w *walker) place() place { return place{w.seg, uint64(w.off), w.seq, w.ord} }

func (w *walker) moveTo(p place) error {
	if p.seg.first != w.seg.first {
		if err := w.enter(p.seg, int64(p.off), p.seq); err != nil {
			return err
		}
	}
	w.off, w.seq, w.ord, w.tried = int64(p.off), p.seq, p.ord, 0
	return nil
}

func (w *walker) close() {
	if w.f != nil {
		w.f.Close()
		w.f = nil
	}
}
