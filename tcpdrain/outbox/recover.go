// SPDX-License-Identifier: MIT

package outbox

import (
	"bytes"
	"os"
	"path/filepath"
)

// recoverTail finds where the records end, and readies the tail behind them. It
// returns those that the cursor says had been appended, and that are not there.
func (q *Queue) recoverTail(was *state) (lost span, err error) {
	seq, ord := was.floor, was.floorOrd // behind the last record found
	next, nextOrd := was.nextSeq, was.nextOrd
	reuse := uint64(0) // the record that the last segment can take
	for i := len(q.segs) - 1; i >= 0; i-- {
		seg := &q.segs[i]
		next, nextOrd = max(next, seg.first), max(nextOrd, seg.ord)
		end, n, torn, err := q.measure(*seg)
		if err != nil {
			return lost, err
		}
		if i == len(q.segs)-1 {
			seg.end, q.loss.Torn, reuse = end, torn, seg.first+n
		}
		if n > 0 || i == 0 {
			if seg.first+n > seq {
				seq, ord = seg.first+n, seg.ord+n
			}
			break
		}
	}
	if seq > next {
		next, nextOrd = seq, ord
	}
	lost = span{seq, next, ord, nextOrd}
	if !was.clean && (was.boot != q.boot || q.boot == "") {
		next += skipped
	}
	q.skew = next - nextOrd
	q.nextSeq.Store(next)
	return lost, q.openTail(next, reuse == next, was.clean)
}

// measure reads segment seg and returns where its last record ends, how many
// records up to there it had, and how many bytes that are not zero follow.
func (q *Queue) measure(seg segment) (end int64, n uint64, torn int64, err error) {
	w := walker{q: q}
	w.buf = q.reader.buf[:0] // which is not in use yet
	if err := w.enter(seg, segmentHeader, seg.first); err != nil {
		return 0, 0, 0, err
	}
	defer w.close()
	for ok := true; ok; {
		if _, ok, err = w.scanner.next(); err != nil {
			return 0, 0, 0, err
		}
	}
	for at := w.off; at < w.end; {
		b, err := w.load(at, int(min(w.end-at, int64(cap(w.buf)))))
		if err != nil {
			return 0, 0, 0, err
		}
		if rest := bytes.TrimRight(b, "\x00"); len(rest) > 0 {
			torn = at + int64(len(rest)) - w.off
		}
		at += int64(len(b))
	}
	return w.off, w.seq - seg.first, torn, nil
}

// openTail opens the last segment for the record next, or else begins a new one.
// What is on disk is made durable first, so that nothing later rests on less.
func (q *Queue) openTail(next uint64, reuse, clean bool) error {
	var base int64
	if n := len(q.segs); n > 0 {
		last := q.segs[n-1]
		f, err := q.disk.open(filepath.Join(q.dir, last.name()), os.O_RDWR)
		if err != nil {
			return err
		}
		q.tail = tail{f: f, salt: last.salt(q.id), off: last.end, limit: q.cfg.SegmentBytes}
		if err := q.tail.writeAll(last.header(q.id), 0); err != nil {
			return err
		}
		if !clean {
			if err := q.rewrite(last.end); err != nil {
				return err
			}
		}
		if err := q.tail.seal(q); err != nil {
			return err
		}
		base = last.at(last.end)
		q.tailPos.Store(base)
		q.durable.Store(next)
		if reuse {
			return nil
		}
		if err := q.tail.close(); err != nil {
			return err
		}
		q.tail.f = nil
	}
	seg := segment{first: next, ord: next - q.skew, end: segmentHeader, base: base}
	t, err := q.create(seg)
	if err != nil {
		return err
	}
	q.tail = t
	q.segs = append(q.segs, seg)
	q.tailPos.Store(base)
	q.durable.Store(next)
	return nil
}

// rewrite writes the tail's records over themselves. If the last process failed to
// sync them, the kernel holds them as clean pages that no later fsync would write.
func (q *Queue) rewrite(end int64) error {
	for at := int64(segmentHeader); at < end; {
		b := q.reader.buf[:min(end-at, int64(cap(q.reader.buf)))]
		if _, err := q.tail.f.ReadAt(b, at); err == nil {
			if err := q.tail.writeAll(b, at); err != nil {
				return err
			}
		}
		at += int64(len(b))
	}
	return nil
}
