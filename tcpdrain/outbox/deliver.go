// SPDX-License-Identifier: MIT

package outbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// ErrSuperseded is returned by [Queue.Deliver] when another call of Deliver has
// taken its place.
var ErrSuperseded = errors.New("outbox: a newer connection takes the records")

// A Codec is the protocol between a queue and the client that takes its records.
type Codec interface {
	// Encode appends rec, as it is to be sent, to dst and returns the result.
	// It must not keep rec.Data.
	Encode(dst []byte, rec Record) []byte
	// ReadAck reads from r until the client acknowledges a record, and returns the
	// record's sequence number: that record, and no other, will not be sent again.
	// It returns [io.EOF] if the client has left, and at once an error wrapping
	// [errors.ErrUnsupported] if the protocol has no acknowledgements.
	ReadAck(r io.Reader) (seq uint64, err error)
}

// batchBytes is how much Deliver encodes before it writes, if there is as much.
const batchBytes = 64 << 10

// Deliver sends the records to conn, oldest unacknowledged first, in order, and
// goes on with new ones as they are appended. It acknowledges a record when the
// client does. It returns when ctx is done, the queue is closed, the connection
// fails, or the client leaves, which it notices while there is nothing to send
// too; never nil. Call it again with the client's next connection: it resumes with
// the first record that was not acknowledged, and sends whole what the old
// connection had carried in part.
//
// Delivery is at least once. A client that must not act twice on a record keeps
// the highest sequence number it has acted on and passes over what is not above it.
//
// If the codec has no acknowledgements, a record counts as acknowledged when the
// kernel at the other end has it, as TCP reports (SIOCOUTQ; that write has returned
// would mean still less). What that kernel holds when its process dies is lost, so
// "at least once" then means once to the client's kernel. This needs Linux and a
// *net.TCPConn; without them Deliver returns an error wrapping [errors.ErrUnsupported].
//
// A queue has one sender: a call of Deliver ends an earlier one, which returns
// [ErrSuperseded], and sends nothing before that one has stopped. The reason is that
// a client which is back has given its old connection up, and that connection may not
// show it for many minutes. Do not call Next meanwhile: a record goes to one taker.
//
// Deliver leaves it to the caller to close conn, or to set its deadlines, which have
// passed, anew. A client that closes its sending half has left. Deliver
// returns [context.Cause] of ctx, [net.ErrClosed], [ErrSuperseded], an error
// wrapping [io.EOF] if the client left, what Next returned, or what the codec or
// the connection said.
func (q *Queue) Deliver(ctx context.Context, conn net.Conn, codec Codec) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := q.sender.takeOver(ctx, cancel); err != nil {
		return err
	}
	defer q.sender.leave()
	if err := q.Rewind(); err != nil {
		return err
	}
	d := &delivery{q: q, conn: conn, codec: codec, end: cancel}
	woken := make(chan struct{})
	context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0))
		close(woken)
	})
	d.wg.Go(func() { d.end(d.readAcks(ctx)) })
	d.end(d.send(ctx))
	d.wg.Wait()
	<-woken // from here on the deadlines are the caller's
	return context.Cause(ctx)
}

// senders admits one delivery at a time, the newest.
type senders struct {
	mu      sync.Mutex
	cancel  context.CancelCauseFunc // of the newest
	working chan struct{}           // holds an element while one is at work
}

func (s *senders) takeOver(ctx context.Context, cancel context.CancelCauseFunc) error {
	s.replace(cancel, ErrSuperseded)
	select {
	case s.working <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if ctx.Err() != nil { // both were ready
		s.leave()
		return context.Cause(ctx)
	}
	return nil
}

// replace ends the newest delivery for the reason why; next is the newest now.
func (s *senders) replace(next context.CancelCauseFunc, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel(why)
	}
	s.cancel = next
}

func (s *senders) leave() { <-s.working }

// A delivery is one call of Deliver.
type delivery struct {
	q     *Queue
	conn  net.Conn
	codec Codec
	end   context.CancelCauseFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	written int64   // bytes, by this delivery
	batches []batch // written and not confirmed; only of use without acknowledgements
	wrote   gate
}

// A batch is what one or more Writes carried.
type batch struct {
	first, last uint64
	end         int64 // bytes written up to its end
}

const maxBatches = 256

func (d *delivery) fail(what string, err error) error {
	return fmt.Errorf("outbox: %s %v: %w", what, d.conn.RemoteAddr(), err)
}

// send writes records until something fails, in batches of those that are there.
func (d *delivery) send(ctx context.Context) error {
	var buf []byte
	for {
		rec, err := d.q.Next(ctx)
		if err != nil {
			return err
		}
		if cap(buf) > 4*batchBytes {
			buf = nil // a long record's
		}
		buf = buf[:0]
		b := batch{first: rec.Seq}
		for ok := true; ok; {
			buf, b.last = d.codec.Encode(buf, rec), rec.Seq
			if len(buf) >= batchBytes {
				break
			}
			rec, ok, _ = d.q.TryNext() // Next will meet the error again
		}
		if _, err := d.conn.Write(buf); err != nil {
			return d.fail("writing to", err)
		}
		d.sent(b, len(buf))
	}
}

func (d *delivery) sent(b batch, n int) {
	d.mu.Lock()
	d.written += int64(n)
	b.end = d.written
	if n := len(d.batches); n == maxBatches {
		d.batches[n-1].last, d.batches[n-1].end = b.last, b.end
	} else {
		d.batches = append(d.batches, b)
	}
	d.mu.Unlock()
	d.wrote.open()
}

// readAcks passes acknowledgements on to the queue, until the client leaves.
func (d *delivery) readAcks(ctx context.Context) error {
	r := bufio.NewReader(d.conn)
	for {
		seq, err := d.codec.ReadAck(r)
		if errors.Is(err, errors.ErrUnsupported) {
			d.wg.Go(func() { d.end(d.confirm(ctx)) })
			_, err = io.Copy(io.Discard, r)
			if err == nil {
				err = io.EOF
			}
		}
		if err != nil {
			return d.fail("reading from", err)
		}
		if err := d.q.Ack(seq); err != nil {
			return err
		}
	}
}

// confirm acknowledges records as the peer's kernel acknowledges their bytes.
// Nothing tells when that happens, so it asks, more seldom the longer it takes.
func (d *delivery) confirm(ctx context.Context) error {
	const least, most = time.Millisecond, 64 * time.Millisecond
	for pause := least; ; pause = min(2*pause, most) {
		wrote := d.wrote.wait()
		d.mu.Lock()
		end, idle := d.written, len(d.batches) == 0
		d.mu.Unlock()
		if idle {
			select {
			case <-wrote:
				pause = least
				continue
			case <-ctx.Done():
				return nil
			}
		}
		// What is written in between counts as unconfirmed: that errs on the safe side.
		n, err := unacknowledged(d.conn)
		if err != nil {
			return d.fail("asking what was received by", err)
		}
		if b := d.confirmed(end - n); b.last > 0 {
			pause = least
			if err := d.q.ackRange(b.first, b.last); err != nil {
				return err
			}
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// confirmed takes out the batches that lie within the first n bytes.
func (d *delivery) confirmed(n int64) (b batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := 0
	for i < len(d.batches) && d.batches[i].end <= n {
		i++
	}
	if i > 0 {
		b = batch{d.batches[0].first, d.batches[i-1].last, d.batches[i-1].end}
		d.batches = slices.Delete(d.batches, 0, i)
	}
	return b
}
