// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// A batch is the memory, or the spilled record, that the caller's bytes are in.
type batch struct {
	chunk   *chunk
	seq     uint64
	spilled bool
}

// Next returns the oldest bytes not yet taken: as many as were collected in one
// piece, at most Config.Chunk from memory. It waits while there are none. The
// batch is the caller's, to read and to write, until the next call of Next, Read
// or WriteTo by whomever; that call is also what acknowledges a batch from Config.Spill.
//
// Once all has been taken, Next returns [io.EOF] if the peer ended the stream, and
// otherwise the error that ended it; [ErrFull] under the policy [Fail]; an error
// that is the spill's if that failed; [ErrHole], wrapped, if that lost something. It returns [context.Cause] of ctx when that is
// done first, an error that is [os.ErrDeadlineExceeded] (and a [net.Error] whose
// Timeout is true) past the read deadline, and [net.ErrClosed], wrapped, after Close.
func (p *Pump) Next(ctx context.Context) ([]byte, error) {
	if err := p.lockCur(ctx); err != nil {
		return nil, err
	}
	b := p.cur
	p.cur = nil
	p.rd.Unlock()
	return b, nil
}

// Read reads as [net.Conn] documents, from what is held. Its errors are those of
// [Pump.Next].
func (p *Pump) Read(b []byte) (int, error) {
	p.rd.Lock()
	if len(p.cur) == 0 || p.lent || p.stop.Load() != 0 { // else this is all there is to a small Read
		p.rd.Unlock()
		if len(b) == 0 {
			return 0, nil
		}
		if err := p.lockCur(context.Background()); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.cur)
	p.cur = p.cur[n:]
	p.rd.Unlock()
	return n, nil
}

// WriteTo writes batches to w until the end of the stream, for [io.Copy]. It
// returns nil at [io.EOF] and otherwise the error of [Pump.Next], or of w; what w
// did not take is left for the next call.
func (p *Pump) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		n, err := p.writeCur(w)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (p *Pump) writeCur(w io.Writer) (n int, err error) {
	if err := p.lockCur(context.Background()); err != nil {
		return 0, err
	}
	p.lent = true
	b := p.cur
	p.rd.Unlock()
	defer func() {
		p.rd.Lock()
		p.lent = false
		p.cur = b[n:]
		p.rd.Unlock()
		nudge(p.wake)
	}()
	n, err = w.Write(b)
	if n < 0 || n > len(b) {
		n, err = 0, fmt.Errorf("tcpdrain: invalid count from a %T's Write: %d of %d", w, n, len(b))
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // w's end is not the stream's
	}
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}

// lockCur waits until cur has bytes, and returns with rd held; or an error, without.
func (p *Pump) lockCur(ctx context.Context) error {
	for {
		p.rd.Lock()
		err := p.refill()
		if err == nil && len(p.cur) > 0 && !p.lent {
			return nil
		}
		p.rd.Unlock()
		if err != nil {
			nudge(p.wake) // whoever else waits is to hear it too
			return err
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// refill gives back a batch that is used up and takes the next, if there is one.
// rd is held.
func (p *Pump) refill() error {
	switch stop := p.stop.Load(); {
	case stop&stopClosed != 0:
		return p.opError(net.ErrClosed)
	case stop&stopExpired != 0:
		return p.opError(os.ErrDeadlineExceeded)
	case len(p.cur) > 0: // as it is while lent
		return nil
	}
	if err := p.release(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked()
}

func (p *Pump) release() error {
	used := p.pin
	p.pin, p.cur = batch{}, nil
	if c := used.chunk; c != nil {
		p.mu.Lock()
		c.pinned = false
		p.dropLocked(c)
		p.mu.Unlock()
	}
	if used.spilled {
		if err := p.spill.Ack(used.seq); err != nil {
			return fmt.Errorf("tcpdrain: spill: %w", err)
		}
	}
	return nil
}

// takeLocked makes the oldest piece cur. If there is none yet, cur stays empty.
func (p *Pump) takeLocked() error {
	if p.stop.Load()&stopClosed != 0 {
		return p.opError(net.ErrClosed)
	}
	if c := p.head; c != nil && c.r < c.w {
		p.cur, p.pin = c.buf[c.r:c.w:c.w], batch{chunk: c}
		p.held -= int64(c.w - c.r)
		c.r, c.pinned = c.w, true
	} else if p.spill.active {
		if err := p.unspillLocked(); err != nil {
			return err
		}
	}
	switch {
	case len(p.cur) > 0:
	case p.spill.active:
		return nil // an append is under way
	case len(p.last) > 0:
		p.cur, p.last = p.last, nil
	default:
		return p.end
	}
	if !p.stalled.IsZero() && p.held <= p.cfg.Resume {
		nudge(p.room)
	}
	nudge(p.wake) // there may be more, for another caller
	return nil
}

// Write writes to the connection.
func (p *Pump) Write(b []byte) (int, error) { return p.conn.Write(b) }

// LocalAddr returns the connection's local address.
func (p *Pump) LocalAddr() net.Addr { return p.conn.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (p *Pump) RemoteAddr() net.Addr { return p.conn.RemoteAddr() }

// SetDeadline sets both deadlines, as [net.Conn] documents.
func (p *Pump) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

// SetWriteDeadline sets the connection's write deadline.
func (p *Pump) SetWriteDeadline(t time.Time) error { return p.conn.SetWriteDeadline(t) }

// SetReadDeadline sets the deadline of Next, Read and WriteTo, present and future.
// The Pump itself goes on reading past it.
func (p *Pump) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop.Load()&stopClosed != 0 {
		return p.opError(net.ErrClosed)
	}
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.stop.And(^uint32(stopExpired))
	if t.IsZero() {
		return nil
	}
	if wait := time.Until(t); wait > 0 {
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if timer == p.timer { // else it is that of a deadline since replaced
				p.expireLocked()
			}
		})
		p.timer = timer
		return nil
	}
	p.expireLocked()
	return nil
}

func (p *Pump) expireLocked() {
	p.stop.Or(stopExpired)
	nudge(p.wake)
}

// CloseWrite tells the peer that no more will be written; reading goes on. It
// returns an error that is [errors.ErrUnsupported] if the connection cannot do so.
func (p *Pump) CloseWrite() error { return closeWrite(p.conn) }

// Close closes the connection and drops what is held in memory; what is in
// Config.Spill stays there, with the batch in hand. When Close has returned the Pump
// does not touch Config.Spill any more, which the next Pump may have then. It does not
// wait for the Pump's goroutine, which ends as soon as the read that it is in returns.
func (p *Pump) Close() error {
	p.halt()
	return p.conn.Close()
}

// halt drops what is held, and ends whatever callers and the goroutine do but for a
// read of the connection.
func (p *Pump) halt() {
	p.mu.Lock()
	p.stop.Or(stopClosed)
	if p.timer != nil {
		p.timer.Stop()
	}
	c := p.head
	p.head, p.tail = nil, nil
	for c != nil {
		next := c.next
		c.r = c.w
		p.dropLocked(c)
		c = next
	}
	p.held, p.last = 0, nil
	appending := p.spill.appends%2 == 1
	p.mu.Unlock()
	nudge(p.wake)
	nudge(p.room)
	if p.cfg.Full != Spill {
		return
	}
	p.spill.giveUp()
	if appending {
		<-p.done // what follows an append reads no more
	}
	p.rd.Lock()   // whoever takes from the spill, or acknowledges, holds it
	p.rd.Unlock() //lint:ignore SA2001 and nobody begins to after this
}

// retire halts p and ends its goroutine, so that the connection can be read by others.
// It returns what the goroutine had from the connection last, if that was its end.
func (p *Pump) retire(ctx context.Context) error {
	p.halt()
	if err := p.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	timer := time.NewTimer(GracefulTimeout) // for a connection that knows no deadlines
	defer timer.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
	if isTimeout(p.err) { // EAGAIN, or the deadline just set
		return nil
	}
	return p.err
}
