// SPDX-License-Identifier: MIT

package outbox

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
)

const (
	readBuffer  = 256 << 10
	trailBuffer = 32 << 10
	// skipped is how many sequence numbers are left out after a power cut: more
	// than there can have been records in memory that were not yet durable.
	skipped = 1 << 40
)

// Open opens the queue in directory dir, which it makes if it is not there, and
// has it to itself until [Queue.Close]. It takes the time to read the last
// segment, and memory for the list of segments, not for records.
//
// Whatever the process or the machine went through since, Open succeeds if the
// directory can be read and written, and [Queue.Loss] says what is missing. It
// returns [ErrLocked] if the queue is in use.
func Open(dir string, cfg Config) (*Queue, error) { return open(dir, cfg, osDisk{}) }

func open(dir string, cfg Config, d disk) (_ *Queue, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := d.mkdirAll(dir); err != nil {
		return nil, err
	}
	lock, err := d.lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	q := &Queue{dir: dir, cfg: cfg, disk: d, log: cfg.Logger, lock: lock, every: cfg.Sync.bounds(), boot: d.boot()}
	q.sender.working = make(chan struct{}, 1)
	if err := q.recover(); err != nil {
		q.reader.close()
		q.trail.close()
		if q.tail.f != nil {
			err = errors.Join(err, q.tail.close())
		}
		if q.cursor != nil {
			err = errors.Join(err, q.cursor.close())
		}
		return nil, errors.Join(err, lock.Close())
	}
	q.startTimer()
	return q, nil
}

// recover brings q to where the files say it was.
func (q *Queue) recover() error {
	c, was, err := q.openCursor()
	if err != nil {
		return err
	}
	q.cursor = c
	if err := q.findSegments(was); err != nil {
		return err
	}
	if was == nil { // a new queue, or one whose cursor is lost: deliver all there is
		was = &state{id: q.id, floor: 1, clean: len(q.segs) == 0, boot: q.boot}
		if len(q.segs) > 0 {
			was.floor, was.floorOrd = q.segs[0].first, q.segs[0].ord
			q.log.Warn("outbox: the cursor is lost; delivering everything again", "dir", q.dir)
		}
		was.nextSeq, was.nextOrd = was.floor, was.floorOrd
		was.trail.seq, was.trail.ord = was.floor, was.floorOrd
	}
	q.acks.floor, q.acks.floorOrd = was.floor, was.floorOrd
	for _, s := range was.spans {
		q.acks.add(s)
	}
	done := q.passed(was.floor)
	q.segs = q.segs[len(done):]

	for _, w := range []*walker{&q.trail, &q.reader} {
		w.q = q
		w.seq, w.ord = was.floor, was.floorOrd
	}
	q.trail.buf = make([]byte, 0, min(trailBuffer, q.cfg.SegmentBytes))
	q.reader.buf = make([]byte, 0, min(readBuffer, q.cfg.SegmentBytes))

	lost, err := q.recoverTail(was)
	if err != nil {
		return err
	}
	if len(q.segs) > 0 && was.trail.seg.first == q.segs[0].first {
		was.trail.seg = q.segs[0]
		if err := q.trail.moveTo(was.trail); err != nil {
			return err
		}
	}
	if s, ok := q.leftOut(); ok {
		q.acks.add(s)
	}
	if err := q.advance(); err != nil {
		return err
	}
	if err := q.reader.moveTo(q.trail.place()); err != nil {
		return err
	}
	q.floor.Store(q.acks.floor)
	q.scatter.Store(len(q.acks.spans) > 0)
	if err := c.prepare(); err != nil {
		return err
	}
	if q.cfg.OnCorrupt == Skip { // under Stop, Next reports them when it gets there
		if err := q.lose(lost); err != nil {
			return err
		}
	}
	if err := errors.Join(c.keep(q.state(false)), c.save(q.state(false)), q.disk.syncDir(q.dir)); err != nil {
		return err
	}
	for _, seg := range done { // the cursor that passed them is durable now
		if err := q.disk.remove(filepath.Join(q.dir, seg.name())); err != nil {
			return err
		}
	}
	return nil
}

// findSegments lists the segments of the queue whose cursor is was, if there is
// one, and sets aside those of other queues.
func (q *Queue) findSegments(was *state) error {
	names, err := q.disk.list(q.dir)
	if err != nil {
		return err
	}
	owners := map[queueID]int{}
	foreign := map[uint64]queueID{}
	for _, name := range names {
		seg, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		id, intact, err := q.inspect(&seg)
		if err != nil {
			return err
		}
		if intact {
			owners[id]++
			foreign[seg.first] = id
		}
		q.segs = append(q.segs, seg)
	}
	switch {
	case was != nil:
		q.id = was.id
	default:
		q.id = q.disk.newID()
		for id, n := range owners {
			if n > owners[q.id] && id != (queueID{}) {
				q.id = id
			}
		}
	}
	q.segs = slices.DeleteFunc(q.segs, func(seg segment) bool {
		id, intact := foreign[seg.first]
		if !intact || id == q.id {
			return false
		}
		name := filepath.Join(q.dir, seg.name())
		err = errors.Join(err, q.disk.rename(name, name+".foreign"))
		q.loss.Foreign++
		q.log.Warn("outbox: set aside a segment of another queue", "segment", name)
		return true
	})
	slices.SortFunc(q.segs, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	var base int64
	for i := range q.segs {
		q.segs[i].base = base
		base += q.segs[i].end - segmentHeader
	}
	return err
}

// inspect finds out the length of seg, and whose it is.
func (q *Queue) inspect(seg *segment) (id queueID, intact bool, err error) {
	f, err := q.disk.open(filepath.Join(q.dir, seg.name()), os.O_RDONLY)
	if err != nil {
		return id, false, err
	}
	defer f.Close()
	n, err := f.size()
	if err != nil {
		return id, false, err
	}
	seg.end = max(n, segmentHeader)
	b := make([]byte, segmentHeader)
	if err := (&scanner{f: f}).read(b, 0); err != nil {
		return id, false, err
	}
	id, intact = seg.ownerOf(b)
	return id, intact, nil
}

// passed returns the segments that have no record at or above floor.
func (q *Queue) passed(floor uint64) []segment {
	n := 0
	for n+1 < len(q.segs) && q.segs[n+1].first <= floor {
		n++
	}
	return q.segs[:n]
}

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

// state is what the cursor is to remember. It needs amu.
func (q *Queue) state(clean bool) *state {
	next := q.nextSeq.Load()
	q.cursor.gen++
	return &state{gen: q.cursor.gen, id: q.id, floor: q.acks.floor, floorOrd: q.acks.floorOrd, trail: q.trail.place(),
		nextSeq: next, nextOrd: next - q.skew, clean: clean, boot: q.boot, spans: q.acks.spans}
}
