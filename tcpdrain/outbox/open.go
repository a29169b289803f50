// SPDX-License-Identifier: MIT

package outbox

import (
	"cmp"
	"errors"
	"fmt"
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

// Open opens the queue in directory dir, which it makes for this user alone if it is
// not there, and has it to itself until [Queue.Close]. It takes the time to read the last segment,
// and without a clean Close to write the last two once more; and memory for the
// list of segments, not for records.
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
	done := q.below(was.floor)
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
	if err := q.advance(); err != nil {
		return err
	}
	if err := q.reader.moveTo(q.trail.place()); err != nil {
		return err
	}
	q.scatter.Store(len(q.acks.spans) > 0)
	if err := c.prepare(); err != nil {
		return err
	}
	if q.cfg.OnCorrupt == Skip { // under Stop, Next reports them when it gets there
		if err := q.lose(lost); err != nil {
			return err
		}
	}
	if err := errors.Join(c.keep(q.state(false)), c.save(q, q.state(false)), q.disk.syncDir(q.dir)); err != nil {
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
		aside := seg.name() + ".foreign"
		for n := 2; slices.Contains(names, aside); n++ { // rename(2) would replace it
			aside = fmt.Sprintf("%s.foreign%d", seg.name(), n)
		}
		err = errors.Join(err, q.disk.rename(filepath.Join(q.dir, seg.name()), filepath.Join(q.dir, aside)))
		q.loss.Foreign++
		q.log.Warn("outbox: set aside a segment of another queue", "dir", q.dir, "file", aside)
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

// below returns the segments that have no record at or above floor.
func (q *Queue) below(floor uint64) []segment {
	n := 0
	for n+1 < len(q.segs) && q.segs[n+1].first <= floor {
		n++
	}
	return q.segs[:n]
}
