// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

// A Reader drains a connection synchronously: it has no goroutine and, between
// calls and while it waits, no buffer. It is safe for concurrent use; drains take
// turns with each other and with a Read of the connection itself, and neither
// comes in the middle of the other. [Reader.TryDrain] does not wait for a turn,
// and may take what a Read that is waiting would have got.
type Reader struct {
	source
	cfg     Config
	calls   int                // most calls of read(2) in one drain
	onReady func(uintptr) bool // made once, so that a drain allocates nothing
	onTry   func(uintptr)

	turn sync.Mutex // held by Drain, also while it waits
	call drain      // the Drain whose turn it is

	mu     sync.Mutex // never held during a wait; guards what follows
	try    drain      // the TryDrain that holds mu
	prefix []byte
	end    error // io.EOF or the error that is the socket's last word
	waited bool  // the Drain whose turn it is has found nothing so far
	stats  Stats
}

// A drain is one call of Drain or TryDrain, and what has come of it.
type drain struct {
	dst   []byte
	start int
	state State
	err   error
}

func (d *drain) got() bool { return len(d.dst) > d.start }

// NewReader returns a Reader of conn, which stays the caller's: closing it ends a
// drain with an error that is [net.ErrClosed], and a deadline set on it ends one
// with an error that is [os.ErrDeadlineExceeded] and a [net.Error] whose Timeout
// is true. NewReader returns an error wrapping [ErrNotStream] for a connection that
// carries messages, and an error that names the field for a Config that makes no
// sense.
func NewReader(conn net.Conn, cfg Config) (*Reader, error) {
	return newReader(conn, cfg, kernel)
}

func newReader(conn net.Conn, cfg Config, k sys) (*Reader, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	src, err := newSource(conn, k)
	if err != nil {
		return nil, err
	}
	r := &Reader{source: src, cfg: cfg, prefix: bytes.Clone(cfg.Prefix)}
	r.cfg.Prefix = nil
	// A peer that sends a byte at a time spends no budget to speak of.
	r.calls = max(64, 4*(cfg.Budget/cfg.Chunk))
	r.onReady = func(fd uintptr) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fill(&r.call, fd)
		if r.call.state == Empty && !r.call.got() && r.call.err == nil {
			r.waited = true
			return false // EAGAIN was the last word: only then may the poller wait
		}
		if r.waited {
			r.waited = false
			r.stats.Wakes++
		}
		return true
	}
	r.onTry = func(fd uintptr) { r.fill(&r.try, fd) }
	return r, nil
}

// Fallback reports that the connection is read with plain Read, because it is not
// one of net's own stream sockets or the platform cannot wait for them. Such a
// Reader holds a chunk while it waits, cannot see EAGAIN, and its TryDrain gives
// Config.Prefix alone.
func (r *Reader) Fallback() bool { return r.raw == nil }

// Stats returns what the Reader has counted. It is cheap but for ZeroWindow, which
// costs a system call.
func (r *Reader) Stats() Stats {
	w, _ := r.window()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.ZeroWindow = w.zero
	return s
}

// Drain waits until there is something to read, appends to dst until the kernel has
// nothing left, and returns the longer dst. It stops early after Config.Budget
// bytes, or after as many reads as should have been enough for them, with the state
// [More]. It reads straight into dst where that has room for a chunk.
//
// The end of the stream is the state [EOF] with a nil error, together with what
// came before it. An error comes alone, by the next call if this one has data, and
// means that dst is as it was. Both come again from every later call, except that the
// error of a deadline ends when that is moved. Data that an expired deadline keeps
// Drain from reading is there for [Reader.TryDrain].
//
// Drain does not wait if there is a Config.Prefix to give.
func (r *Reader) Drain(dst []byte) ([]byte, State, error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	r.mu.Lock()
	ready := r.end != nil || len(r.prefix) > 0
	r.mu.Unlock()
	if ready {
		return r.TryDrain(dst)
	}
	if r.raw == nil {
		return r.readOnce(dst)
	}
	r.call = drain{dst: dst, start: len(dst)}
	err := r.wait(r.onReady)
	d := r.call
	r.call, r.waited = drain{}, false
	if err != nil { // a timeout or Close; the callback has nothing, or was not called
		return dst, Empty, err
	}
	return d.dst, d.state, d.err
}

// TryDrain is Drain without waiting: if there is nothing it returns dst and
// [Empty]. It reads even if the connection's deadline has passed. Where
// [Reader.Fallback] is true it returns an error that is [errors.ErrUnsupported]
// once the prefix has been taken.
func (r *Reader) TryDrain(dst []byte) ([]byte, State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.try = drain{dst: append(dst, r.prefix...), start: len(dst), state: More}
	r.prefix = nil
	switch {
	case r.end != nil:
		r.fill(&r.try, 0)
	case r.raw != nil:
		r.try.err = r.raw.Control(r.onTry)
	case !r.try.got():
		r.try.err = fmt.Errorf("tcpdrain: reading a %T without waiting: %w", r.conn, errors.ErrUnsupported)
	}
	d := r.try
	r.try = drain{}
	if d.got() {
		d.err = nil
	}
	return d.dst, d.state, d.err
}

// fill reads into d until EAGAIN, the budget, or the end. The caller holds mu.
func (r *Reader) fill(d *drain, fd uintptr) {
	left := r.cfg.Budget
	for calls := 0; r.end == nil; calls++ {
		if left == 0 || calls == r.calls {
			r.stats.BudgetHits++
			d.state = More
			return
		}
		n, err := r.readInto(d, fd, min(left, r.cfg.Chunk))
		r.stats.Reads++
		r.stats.Bytes += int64(n)
		left -= n
		if err == errAgain {
			r.stats.Eagains++
			d.state = Empty
			return
		}
		r.end = err
	}
	switch {
	case r.end == io.EOF:
		d.state = EOF
	case d.got():
		d.state = More
	default:
		d.state, d.err = Empty, r.end
	}
}

// readInto appends at most size bytes to d. The detour through a chunk is for a dst
// that has no room: growing it before it is known that there is data, and how much,
// would cost an idle connection its buffer.
func (r *Reader) readInto(d *drain, fd uintptr, size int) (int, error) {
	used := len(d.dst)
	if cap(d.dst)-used >= size {
		n, err := r.readNow(fd, d.dst[used:used+size])
		d.dst = d.dst[:used+n]
		return n, err
	}
	c := newChunk(size)
	defer c.free()
	n, err := r.readNow(fd, c.buf)
	d.dst = append(d.dst, c.buf[:n]...)
	return n, err
}

// readOnce is Drain by a plain Read.
func (r *Reader) readOnce(dst []byte) ([]byte, State, error) {
	c := newChunk(min(r.cfg.Budget, r.cfg.Chunk))
	defer c.free()
	n, err := r.conn.Read(c.buf)
	dst = append(dst, c.buf[:n]...)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Reads++
	r.stats.Bytes += int64(n)
	state := Empty
	switch {
	case errors.Is(err, io.EOF):
		r.end, state, err = io.EOF, EOF, nil
	case err != nil && !isTimeout(err):
		r.end = err // for an error of the socket is told once, and then the end of the stream
	}
	if n > 0 {
		if err != nil {
			state = More
		}
		return dst, state, nil
	}
	return dst, state, err
}

// isTimeout reports whether err is that of a deadline, which passes. Not every
// wrapper's is os.ErrDeadlineExceeded. ETIMEDOUT says that it is a timeout, too, but
// ends the connection: the peer has not answered the kernel (tcp(7)).
func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}
