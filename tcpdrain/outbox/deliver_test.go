// SPDX-License-Identifier: MIT

package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// tcpPair returns both ends of a connection.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	return dialPair(t, net.Dialer{})
}

func dialPair(t testing.TB, d net.Dialer) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// deliver runs Deliver and returns where its error will be.
func deliver(ctx context.Context, q *Queue, conn net.Conn, codec Codec) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- q.Deliver(ctx, conn, codec)
		conn.Close()
	}()
	return done
}

func within(t testing.TB, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("timed out: " + what)
		return nil
	}
}

// A client that breaks off again and again, wherever it stands, gets all records
// in order, whole, and again only those that it had not acknowledged.
func TestDeliverAcrossConnections(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, t.TempDir(), Config{SegmentBytes: 16 << 10})
	const n = 500
	go func() {
		for i := range n {
			q.Append(message(uint64(i+1), i))
		}
	}()
	var c Framed
	next := uint64(1) // not yet acknowledged
	for round := 0; next <= n; round++ {
		near, far := tcpPair(t)
		done := deliver(t.Context(), q, near, c)
		first := true
		r := &io.LimitedReader{R: far, N: 100 + int64(round*997%20000)} // breaks off inside a record
		for next <= n {
			rec, err := c.ReadRecord(r)
			if err != nil {
				break
			}
			if first && rec.Seq != next {
				t.Fatalf("round %d begins with record %d, want %d", round, rec.Seq, next)
			}
			first = false
			if rec.Seq != next || !bytes.Equal(rec.Data, message(rec.Seq, int(rec.Seq-1))) {
				t.Fatalf("record %d is wrong, want %d", rec.Seq, next)
			}
			if err := c.WriteAck(far, rec.Seq); err != nil {
				break
			}
			next++
		}
		// Half-closed, so that no reset can overtake the acknowledgements.
		far.CloseWrite()
		if err := within(t, "the end of a delivery", done); err == nil {
			t.Fatal("Deliver returned nil")
		}
		far.Close()
		if want := n - int(next) + 1; next <= n && q.Len() > want {
			t.Fatalf("Len %d after %d acknowledgements", q.Len(), next-1)
		}
	}
	if q.Len() != 0 {
		t.Fatalf("Len %d", q.Len())
	}
}

// A queue with nothing to send sees the client leave.
func TestDeliverNoticesLeaving(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*net.TCPConn){
		"close": func(c *net.TCPConn) { c.Close() },
		"reset": func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	} {
		for _, codec := range []Codec{Framed{}, lines{}} {
			t.Run(fmt.Sprintf("%s/%T", name, codec), func(t *testing.T) {
				t.Parallel()
				if _, silent := codec.(lines); silent && runtime.GOOS != "linux" {
					t.Skip("needs SIOCOUTQ")
				}
				q := mustOpen(t, t.TempDir(), Config{})
				near, far := tcpPair(t)
				done := deliver(t.Context(), q, near, codec)
				leave(far)
				err := within(t, "an idle client left", done)
				if err == nil || name == "close" && !errors.Is(err, io.EOF) {
					t.Errorf("Deliver: %v", err)
				}
			})
		}
	}
}

// One sender: the newest connection takes over from one that hangs.
func TestDeliverSupersedes(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, t.TempDir(), Config{})
	for range 100 {
		mustAppend(t, q, make([]byte, 100<<10)) // more than a connection holds
	}
	var active, most atomic.Int32
	var old <-chan error
	start := func() *net.TCPConn {
		near, far := tcpPair(t)
		conn := &counting{Conn: near, active: &active, most: &most, began: make(chan bool)}
		done := deliver(t.Context(), q, conn, Framed{})
		<-conn.began
		if old != nil {
			if err := within(t, "a superseded delivery", old); !errors.Is(err, ErrSuperseded) {
				t.Fatalf("Deliver: %v, want ErrSuperseded", err)
			}
		}
		old = done
		return far
	}
	for range 4 {
		start() // a client that never reads
	}
	far, n := start(), uint64(0)
	err := Framed{}.Receive(far, func(rec Record) error {
		if n++; rec.Seq != n {
			return fmt.Errorf("record %d, want %d", rec.Seq, n)
		}
		if n == 100 {
			return errDone
		}
		return nil
	})
	if err != errDone {
		t.Fatal(err)
	}
	far.Close()
	within(t, "the last delivery", old)
	if most.Load() > 1 {
		t.Errorf("%d senders at a time", most.Load())
	}
}

var errDone = errors.New("done")

// counting is a connection that counts how many write at a time, and that is slow
// to return from a write which fails.
type counting struct {
	net.Conn
	active, most *atomic.Int32
	once         sync.Once
	began        chan bool
}

func (c *counting) Write(b []byte) (int, error) {
	n := c.active.Add(1)
	defer c.active.Add(-1)
	if n > c.most.Load() {
		c.most.Store(n)
	}
	c.once.Do(func() { close(c.began) })
	m, err := c.Conn.Write(b)
	if err != nil {
		time.Sleep(50 * time.Millisecond)
	}
	return m, err
}

// A delivery that is stuck in a write ends with its context, and with the queue.
func TestDeliverEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for name, tc := range map[string]struct {
		end  func(q *Queue, cancel context.CancelCauseFunc)
		want error
	}{
		"context": {func(q *Queue, cancel context.CancelCauseFunc) { cancel(cause) }, cause},
		"close":   {func(q *Queue, cancel context.CancelCauseFunc) { q.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newModelDisk()
				q, err := open("/q", Config{Sync: Never}, d)
				if err != nil {
					t.Fatal(err)
				}
				defer q.Close()
				mustAppend(t, q, []byte("stuck"))
				near, far := net.Pipe()
				defer far.Close()
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				done := deliver(ctx, q, near, Framed{})
				synctest.Wait() // nobody reads: it is in Write
				tc.end(q, cancel)
				if err := <-done; !errors.Is(err, tc.want) {
					t.Errorf("Deliver: %v, want %v", err, tc.want)
				}
			})
		})
	}
}

// A client that acknowledges what is none of its business is told off.
func TestDeliverBadAck(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, t.TempDir(), Config{})
	near, far := tcpPair(t)
	done := deliver(t.Context(), q, near, Framed{})
	Framed{}.WriteAck(far, 99)
	if err := within(t, "a bad acknowledgement", done); !errors.Is(err, ErrUnknownSeq) {
		t.Errorf("Deliver: %v", err)
	}
}

// lines is a protocol without acknowledgements.
type lines struct{}

func (lines) Encode(dst []byte, rec Record) []byte { return append(append(dst, rec.Data...), '\n') }
func (lines) ReadAck(io.Reader) (uint64, error)    { return 0, errors.ErrUnsupported }

// G32: a write that has returned is not a delivery. Without acknowledgements a
// record counts once the peer's kernel has it.
func TestDeliverWithoutAcks(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		q := mustOpen(t, t.TempDir(), Config{})
		near, _ := tcpPair(t)
		mustAppend(t, q, nil)
		if err := within(t, "unsupported", deliver(t.Context(), q, near, lines{})); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Deliver: %v", err)
		}
		return
	}
	t.Run("TCP", func(t *testing.T) {
		t.Parallel()
		near, far := tcpPair(t)
		deliverWithoutAcks(t, near, far)
	})
	t.Run("MPTCP", func(t *testing.T) { // which Go's listeners accept
		t.Parallel()
		var d net.Dialer
		d.SetMultipathTCP(true)
		near, far := dialPair(t, d)
		if on, err := near.MultipathTCP(); err != nil || !on {
			t.Skipf("no MPTCP here: %v, %v", on, err)
		}
		deliverWithoutAcks(t, near, far)
	})
}

func deliverWithoutAcks(t *testing.T, near, far *net.TCPConn) {
	q := mustOpen(t, t.TempDir(), Config{})
	const n, size = 4000, 4000 // 16 MB: more than both kernels' buffers
	for range n {
		mustAppend(t, q, bytes.Repeat([]byte("x"), size))
	}
	far.SetReadBuffer(64 << 10) // the test's own end: to stall early
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := deliver(ctx, q, near, lines{})

	// The peer does not read: what it holds is bounded by its buffer, whatever
	// our own kernel has taken.
	stalled := func() int {
		for last, same := -1, 0; ; time.Sleep(20 * time.Millisecond) {
			if now := n - q.Len(); now == last {
				if same++; same == 25 {
					return now
				}
			} else {
				last, same = now, 0
			}
		}
	}()
	if held := stalled * (size + 1); held > 2<<20 {
		t.Fatalf("%d bytes counted as delivered to a peer with a small buffer", held)
	}
	if _, err := io.CopyN(io.Discard, far, n*(size+1)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); q.Len() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("Len %d after all was read", q.Len())
		}
	}
	cancel()
	if err := within(t, "cancel", done); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What was written to a client that does not confirm takes no memory by the batch.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	var d delivery
	const n = 10 * maxBatches
	for i := range uint64(n) {
		d.sent(batch{first: i + 1, last: i + 1}, 100)
	}
	if len(d.batches) > maxBatches {
		t.Errorf("%d batches are kept", len(d.batches))
	}
	if b := d.confirmed(99); b.last != 0 {
		t.Errorf("%+v confirmed by 99 bytes", b)
	}
	if b := d.confirmed(250); b.first != 1 || b.last != 2 {
		t.Errorf("%+v confirmed by 250 bytes, want records 1 and 2", b)
	}
	if b := d.confirmed(100*n - 1); b.first != 3 || b.last >= n {
		t.Errorf("%+v confirmed by all bytes but one", b)
	}
	if b := d.confirmed(100 * n); b.last != n || len(d.batches) != 0 {
		t.Errorf("%+v confirmed by all bytes, %d batches left", b, len(d.batches))
	}
}

func TestDeliverWithoutAcksNeedsTCP(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, t.TempDir(), Config{})
	near, far := net.Pipe()
	defer far.Close()
	go io.Copy(io.Discard, far)
	mustAppend(t, q, []byte("x"))
	if err := within(t, "unsupported", deliver(t.Context(), q, near, lines{})); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Deliver: %v", err)
	}
}

// Many clients come and go at once; one gets everything that is left.
func TestDeliverChurn(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, t.TempDir(), Config{})
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			near, far := net.Pipe()
			far.SetDeadline(time.Now().Add(time.Duration(i) * 5 * time.Millisecond))
			done := deliver(t.Context(), q, near, Framed{})
			n := 0
			Framed{}.Receive(far, func(rec Record) error {
				mu.Lock()
				defer mu.Unlock()
				seen[rec.Seq] = true
				if n++; n > i {
					return errDone
				}
				return nil
			})
			far.Close()
			within(t, "churn", done)
		})
		mustAppend(t, q, []byte("x"))
	}
	wg.Wait()
	near, far := net.Pipe()
	done := deliver(t.Context(), q, near, Framed{})
	go Framed{}.Receive(far, func(rec Record) error {
		mu.Lock()
		defer mu.Unlock()
		seen[rec.Seq] = true
		return nil
	})
	for q.Len() > 0 {
		time.Sleep(time.Millisecond)
	}
	far.Close()
	within(t, "the last one", done)
	if len(seen) != 20 {
		t.Errorf("%d records arrived", len(seen))
	}
}

// Once Deliver has returned, the deadlines of the connection are the caller's.
func TestDeliverLeavesDeadlines(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, t.TempDir(), Config{})
	for range 50 {
		near, far := net.Pipe()
		conn := &lateDeadline{Conn: near}
		far.Close()
		q.Deliver(t.Context(), conn, Framed{})
		if conn.set.Load() != 1 {
			t.Fatal("a deadline is set after Deliver has returned")
		}
		near.Close()
	}
}

// lateDeadline is slow to set a deadline.
type lateDeadline struct {
	net.Conn
	set atomic.Int32
}

func (c *lateDeadline) SetDeadline(at time.Time) error {
	time.Sleep(time.Millisecond)
	c.set.Add(1)
	return c.Conn.SetDeadline(at)
}
