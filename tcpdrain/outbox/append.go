// SPDX-License-Identifier: MIT

package outbox

import (
	"context"
	"fmt"
)

// Append adds a copy of msg at the end of the queue and returns its sequence
// number. Numbers rise by one from 1; after a power cut, some may be left out.
//
// When Append has returned nil the record survives the death of the process, and
// a power cut as [Config.Sync] says. After an error other than [ErrPoisoned] the
// queue is as it was, and Append may be called again. Append waits for the disk
// where the sync policy asks for it, and for room under [Block].
//
// It returns [ErrFull], [ErrTooLarge], [ErrPoisoned], [net.ErrClosed], or what the
// file system said, such as ENOSPC.
func (q *Queue) Append(msg []byte) (seq uint64, err error) {
	return q.AppendContext(context.Background(), msg)
}

// AppendContext is Append that gives up waiting for room, under [Block], when ctx
// is done: it returns [context.Cause] then, and has appended nothing. It appends
// at once if there is room, even if ctx is done, and does not give up an fsync.
func (q *Queue) AppendContext(ctx context.Context, msg []byte) (seq uint64, err error) {
	size := int64(frameHeader + len(msg))
	if len(msg) > MaxRecord || q.cfg.MaxBytes > 0 && size > q.cfg.MaxBytes {
		return 0, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(msg))
	}
	for {
		seq, wait, err := q.tryAppend(msg, size)
		switch {
		case err != nil:
			return 0, err
		case wait == nil:
			return seq, q.settle(seq)
		}
		if err := wait(ctx, size); err != nil {
			return 0, err
		}
	}
}

// tryAppend appends unless something must be done without q.mu first.
func (q *Queue) tryAppend(msg []byte, size int64) (seq uint64, wait func(ctx context.Context, size int64) error, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.err(); err != nil {
		return 0, nil, err
	}
	if err := q.poisoned(); err != nil {
		return 0, nil, err
	}
	if q.cfg.MaxBytes > 0 && q.Bytes()+size > q.cfg.MaxBytes {
		return 0, q.makeRoom, nil
	}
	t := &q.tail
	if t.off+size > q.cfg.SegmentBytes && t.off > segmentHeader {
		return 0, q.rotate, nil
	}
	seq = q.nextSeq.Load()
	if err := t.put(q, seq, msg, size); err != nil {
		return 0, nil, err
	}
	q.segs[len(q.segs)-1].end = t.off
	q.nextSeq.Store(seq + 1)
	q.tailPos.Add(size)
	q.arm()
	return seq, nil, nil
}

// makeRoom does what Config.Full says about a record of size bytes, and returns
// nil when it is worth trying again.
func (q *Queue) makeRoom(ctx context.Context, size int64) error {
	switch q.cfg.Full {
	case Fail:
		return ErrFull
	case DropOldest:
		return q.dropFor(size)
	}
	freed := q.freed.wait()
	if q.Bytes()+size > q.cfg.MaxBytes && q.err() == nil && q.poisoned() == nil {
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// rotate completes the tail's segment and begins the next.
func (q *Queue) rotate(_ context.Context, size int64) error {
	q.smu.Lock()
	defer q.smu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.done.Load() || q.tail.off+size <= q.cfg.SegmentBytes || q.tail.off == segmentHeader {
		return nil // somebody else was here
	}
	first := q.nextSeq.Load()
	if err := q.tail.seal(q); err != nil {
		return err
	}
	last := q.segs[len(q.segs)-1]
	seg := segment{first: first, ord: first - q.skew, end: segmentHeader, base: last.at(last.end)}
	t, err := q.create(seg)
	if err != nil {
		return err
	}
	q.tail.close()
	q.tail = t
	q.segs = append(q.segs, seg)
	q.durable.Store(first)
	return nil
}

// dropFor gives up the oldest unacknowledged records until size bytes fit.
func (q *Queue) dropFor(size int64) error {
	if err := q.drop(size); err != nil {
		return err
	}
	return q.sweep()
}

func (q *Queue) drop(size int64) error {
	q.amu.Lock()
	defer q.amu.Unlock()
	for q.Bytes()+size > q.cfg.MaxBytes {
		seq := q.acks.floor
		if seq >= q.nextSeq.Load() {
			return nil // the trail stands at the end
		}
		ord := q.acks.floorOrd
		s := span{seq, seq + 1, ord, ord + 1}
		if _, err := q.settleAcks(s); err != nil {
			return err
		}
		q.loss.add(s, 1, Dropped)
	}
	return nil
}
