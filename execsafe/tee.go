// SPDX-License-Identifier: MIT

package execsafe

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// teeBuffers bounds how much output may wait for one writer: 128 KiB.
const teeBuffers = 2

// A tee hands the chunks of one stream to a writer that may be slow, fail or never
// return. The drain goroutine copies each chunk into one of a few buffers; the
// tee's own goroutine writes it and gives the buffer back. So the drain waits for
// the writer at one place only, where it takes a buffer, and can leave there.
type tee struct {
	w    io.Writer
	lock *sync.Mutex // held by each Write to w
	in   chan []byte // filled buffers; has room for all there are, so sending never blocks
	free chan []byte // written buffers
	made int         // buffers in existence
	gone bool        // the drain has given the writer up

	hurry, cut <-chan struct{} // the run ends: a Write may take Linger; is over: none may take any longer
	patience   func(began time.Time) time.Duration
	writing    atomic.Pointer[time.Time] // since when; nil: not
	fail       func(error)
	busy       func(bool) // the drain is, or is no longer, held up
}

func (t *tee) start() {
	t.in = make(chan []byte, teeBuffers)
	t.free = make(chan []byte, teeBuffers)
	go t.write()
}

// write calls the writer until it fails. However that happens, be it by a panic or
// by ending the goroutine, the drain keeps getting its buffers back.
func (t *tee) write() {
	var b []byte
	inside := false
	defer func() {
		if v := recover(); v != nil {
			t.fail(fmt.Errorf("%w: Tee: panic: %v", ErrWriter, v))
		} else if inside {
			t.fail(fmt.Errorf("%w: Tee: Write ended its goroutine", ErrWriter))
		}
		if b != nil {
			t.free <- b
		}
		for b := range t.in {
			t.free <- b
		}
	}()
	for b = range t.in {
		inside = true
		now := time.Now()
		t.writing.Store(&now)
		n, err := t.locked(b)
		t.writing.Store(nil)
		inside = false
		if err == nil && n != len(b) {
			err = io.ErrShortWrite
		}
		if err != nil {
			t.fail(fmt.Errorf("%w: Tee: %w", ErrWriter, err))
			return
		}
		t.free <- b
		b = nil
	}
}

func (t *tee) locked(b []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.w.Write(b)
}

// put hands a copy of p to the writer. p is at most a chunk.
func (t *tee) put(p []byte) {
	if b := t.take(); b != nil {
		t.in <- append(b[:0], p...)
	}
}

// take returns a buffer that the writer is done with, or nil if it was given up.
func (t *tee) take() []byte {
	if t.gone {
		return nil
	}
	select {
	case b := <-t.free:
		return b
	default:
	}
	if t.made < teeBuffers {
		t.made++
		return newChunk()
	}
	t.busy(true)
	defer t.busy(false)
	select {
	case b := <-t.free:
		return b
	case <-t.hurry:
	}
	var began time.Time
	if at := t.writing.Load(); at != nil {
		began = *at
	}
	timer := time.NewTimer(t.patience(began))
	defer timer.Stop()
	select {
	case b := <-t.free:
		return b
	case <-timer.C:
	case <-t.cut:
	}
	t.gone = true
	close(t.in) // the writer's goroutine ends when its Write returns
	t.fail(fmt.Errorf("%w: Tee: Write did not return", ErrWriter))
	return nil
}

// finish waits until everything is written, under the same conditions as put.
func (t *tee) finish() {
	for ; t.made > 0; t.made-- {
		b := t.wait()
		if b == nil {
			return
		}
		freeChunk(b)
	}
	if !t.gone {
		t.gone = true
		close(t.in)
	}
}

// wait is take without making another buffer.
func (t *tee) wait() []byte {
	made := t.made
	t.made = teeBuffers
	b := t.take()
	t.made = made
	return b
}

// writerLocks keeps the streams of a run, and the stages of a Pipe, from writing to
// the same writer at once.
type writerLocks struct {
	writers []io.Writer
	locks   []*sync.Mutex
}

func (l *writerLocks) of(w io.Writer) *sync.Mutex {
	for i, other := range l.writers {
		if same(w, other) {
			return l.locks[i]
		}
	}
	l.writers, l.locks = append(l.writers, w), append(l.locks, new(sync.Mutex))
	return l.locks[len(l.locks)-1]
}

func same(a, b io.Writer) bool {
	defer func() { _ = recover() }() // of a type that cannot be compared
	return a == b
}
