// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Queue is a durable FIFO in a directory. Make one with [Open]. All methods may
// be called from any goroutine, at the same time.
type Queue struct {
	// Four locks, taken in this order. None is held while waiting for anything but
	// the disk, and mu and amu not for an fsync.
	//
	//	rmu   the reader's position               Next, Rewind
	//	smu   fsync, rotation, removal            Sync, and Append at its turn
	//	amu   what is acknowledged, the trail     Ack, and Append under DropOldest
	//	mu    the tail and the list of segments   Append

	dir   string
	cfg   Config
	disk  disk
	log   *slog.Logger
	id    queueID
	boot  string
	every Every
	skew  uint64 // sequence number minus ordinal of the records appended since Open
	lock  io.Closer

	rmu    sync.Mutex
	reader walker // at the record that Next looks at next

	amu   sync.Mutex
	acks  acks
	trail walker // at the oldest unacknowledged record
	loss  Loss

	smu       sync.Mutex
	cursor    *cursor
	sealed    file          // the segment before the tail's, until it is durable
	sealedEnd uint64        // records below are in it or before it
	timer     *time.Timer   // runs the interval sync; nil without one
	round     round         // of those who wait for an fsync
	durable   atomic.Uint64 // records below are durable
	ackedSync atomic.Uint64 // acked when the cursor was last made durable

	mu   sync.Mutex
	tail tail
	segs []segment // by first; the last is the tail's

	// Written under the lock named, read without it.
	floor    atomic.Uint64 // amu: oldest unacknowledged record
	scatter  atomic.Bool   // amu: some records above floor are acknowledged
	acked    atomic.Uint64 // amu: calls of Ack that changed something
	passed   atomic.Bool   // mu: there are segments below floor
	trailPos atomic.Int64  // amu: position of trail, as segment.at
	trailSeq atomic.Uint64 // amu: the record expected there
	tailPos  atomic.Int64  // mu: position of tail
	nextSeq  atomic.Uint64 // mu: of the next record to be appended
	failure  atomic.Pointer[error]
	done     atomic.Bool // Close has begun
	armed    atomic.Bool // timer is running

	sender senders

	arrived gate // a record was appended
	freed   gate // bytes were given back
}

// Len returns the number of records that are not acknowledged. Records that are
// damaged on disk count until Next has come upon them.
func (q *Queue) Len() int {
	q.amu.Lock()
	defer q.amu.Unlock()
	return int(min(q.nextSeq.Load()-q.skew-q.acks.floorOrd-q.acks.above, math.MaxInt))
}

// Bytes returns what the queue holds from the oldest unacknowledged record to the
// newest, in bytes, 16 for the header of each record included.
func (q *Queue) Bytes() int64 {
	from := q.trailPos.Load() // first: it only moves towards the tail
	return q.tailPos.Load() - from
}

// err says why the queue cannot be used, if it cannot.
func (q *Queue) err() error {
	if q.done.Load() {
		return net.ErrClosed
	}
	return nil
}

// poisoned returns the failure after which nothing can be called durable any more.
func (q *Queue) poisoned() error {
	if p := q.failure.Load(); p != nil {
		return *p
	}
	return nil
}

func (q *Queue) poison(cause error) error {
	err := fmt.Errorf("%w: %w", ErrPoisoned, cause)
	if q.failure.CompareAndSwap(nil, &err) {
		q.log.Error("outbox: storage failed; reopen the queue", "dir", q.dir, "err", cause)
		q.freed.open()
	}
	return q.poisoned()
}

// Close makes everything durable and gives the directory back. Calls that wait,
// and all later ones, return [net.ErrClosed]; so does a second Close. It returns
// [ErrPoisoned] if durability cannot be promised, and what the file system said if
// that holds for acknowledgements alone.
func (q *Queue) Close() error {
	if !q.done.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	q.arrived.open()
	q.freed.open()
	q.sender.replace(nil, net.ErrClosed)

	// Under all four locks nobody is in a call that uses a file.
	q.rmu.Lock()
	defer q.rmu.Unlock()
	q.smu.Lock()
	defer q.smu.Unlock()
	q.amu.Lock()
	defer q.amu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
	}
	err := q.poisoned()
	if err == nil {
		err = q.syncSealed()
	}
	if q.sealed != nil {
		q.sealed.Close()
	}
	if err == nil {
		if err = q.tail.seal(q); err != nil {
			err = q.poison(err) // an Append that has returned from this lock must know
		}
	}
	if err == nil {
		q.durable.Store(q.nextSeq.Load())
		err = q.cursor.save(q, q.state(true))
	}
	q.reader.close()
	q.trail.close()
	return errors.Join(err, q.tail.close(), q.cursor.close(), q.lock.Close())
}

// A gate lets goroutines wait, on a channel, for the next time it opens.
type gate struct {
	mu      sync.Mutex
	ch      chan struct{}
	waiters atomic.Bool
}

// wait returns the channel that the next open closes. Whoever waits must look at
// the condition once more after calling wait, and whoever calls open must make the
// condition true before.
func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch == nil {
		g.ch = make(chan struct{})
		g.waiters.Store(true)
	}
	return g.ch
}

func (g *gate) open() {
	if !g.waiters.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch != nil {
		close(g.ch)
		g.ch = nil
		g.waiters.Store(false)
	}
}
