// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestReaderDrainsTheStream(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	r := must(NewReader(local, Config{}))
	want := pattern(9 << 20)
	go func() {
		peer.Write(want)
		peer.CloseWrite()
	}()
	got, err := drainToEnd(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
	}
	if s := r.Stats(); s.Bytes != int64(len(want)) || s.Reads < s.Eagains || polls && s.Reads > 20*int64(len(want)>>16) {
		t.Errorf("%+v", s)
	}
}

// drainToEnd returns what r gives until the end of the stream, or an error.
func drainToEnd(r *Reader) (got []byte, err error) {
	for {
		var state State
		if got, state, err = r.Drain(got); err != nil || state == EOF {
			return got, err
		}
	}
}

// G5: a socket that is never empty does not keep Drain for ever, neither by bytes
// nor, one byte at a time, by calls; and the deadline is looked at in between.
func TestDrainReturnsFromASaturatedSocket(t *testing.T) {
	t.Parallel()
	s := &script{tb: t, steps: []step{{n: 1 << 30}}}
	r := must(newReader(s.conn(), Config{Budget: 1000, Chunk: 300}, s.sys()))
	if b, state, err := r.Drain(nil); len(b) != 1000 || state != More || err != nil {
		t.Errorf("Drain = %d bytes, %v, %v", len(b), state, err)
	}
	trickle := make([]step, 1<<14)
	for i := range trickle {
		trickle[i].n = 1
	}
	s = &script{tb: t, steps: trickle}
	r = must(newReader(s.conn(), Config{}, s.sys()))
	if b, state, err := r.Drain(nil); len(b) == 0 || s.reads > 100 || state != More || err != nil {
		t.Errorf("Drain = %d bytes after %d reads, %v, %v", len(b), s.reads, state, err)
	}
	if got := r.Stats().BudgetHits; got != 1 {
		t.Errorf("BudgetHits = %d", got)
	}

	local, peer := tcpPair(t)
	saturate(peer)
	r = must(NewReader(local, Config{}))
	check(t, local.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	within(t, "draining a saturated socket past its deadline", func() {
		var err error
		for buf := []byte(nil); err == nil; buf, _, err = r.Drain(buf[:0]) {
			time.Sleep(time.Millisecond) // the work
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Drain = %v", err)
		}
	})
}

// G8: an error that is a timeout in both senses, alone, and only as long as the
// deadline stands.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){
		"direct":   func(tb testing.TB) (net.Conn, net.Conn) { a, b := tcpPair(tb); return a, b },
		"fallback": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, peer := pair(t)
			defer local.Close()
			defer peer.Close()
			r := must(NewReader(local, Config{}))
			check(t, local.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
			dst := []byte("before")
			b, _, err := r.Drain(dst)
			ne, ok := errors.AsType[net.Error](err)
			if string(b) != "before" || !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !ne.Timeout() {
				t.Errorf("Drain = %q, %v", b, err)
			}
			if _, _, again := r.Drain(nil); !errors.Is(again, os.ErrDeadlineExceeded) {
				t.Errorf("second Drain = %v", again)
			}
			check(t, local.SetReadDeadline(time.Time{}))
			go peer.Write([]byte(" after"))
			if b, _, err := r.Drain(dst); string(b) != "before after" || err != nil {
				t.Errorf("Drain = %q, %v", b, err)
			}
		})
	}
}

// A timedOut is a wrapper around a connection that the kernel has given up on: that is
// said once, and then the end of the stream.
type timedOut struct {
	net.Conn
	reads int
}

func (c *timedOut) Read(b []byte) (int, error) {
	switch c.reads++; c.reads {
	case 1:
		return copy(b, "half a mess"), nil
	case 2:
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}
	}
	return 0, io.EOF
}

// G1 for ETIMEDOUT, which calls itself a timeout but does not pass.
func TestATimedOutConnectionHasNotEnded(t *testing.T) {
	t.Parallel()
	local, _ := tcpPair(t)
	r := must(NewReader(&timedOut{Conn: local}, Config{}))
	if b, _, err := r.Drain(nil); string(b) != "half a mess" || err != nil {
		t.Errorf("Drain = %q, %v", b, err)
	}
	for range 3 {
		if b, state, err := r.Drain(nil); len(b) > 0 || state == EOF || !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("Drain = %q, %v, %v", b, state, err)
		}
	}
}

// G8: the deadline passes between two reads of one drain: the data comes, and then
// the timeout.
func TestDeadlineInTheMiddleOfADrain(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	k := kernel
	k.read = func(fd uintptr, p []byte) (int, error) {
		n, err := kernel.read(fd, p)
		if n > 0 {
			local.SetReadDeadline(time.Unix(1, 0))
		}
		return n, err
	}
	if !polls {
		t.Skip("reads go through Read here")
	}
	r := must(newReader(local, Config{}, k))
	peer.Write([]byte("data"))
	if b, state, err := r.Drain(nil); string(b) != "data" || state != Empty || err != nil {
		t.Errorf("Drain = %q, %v, %v", b, state, err)
	}
	if _, _, err := r.Drain(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("second Drain = %v", err)
	}
}

// G9: Close ends a drain that waits.
func TestCloseEndsADrain(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){
		"tcp":  func(tb testing.TB) (net.Conn, net.Conn) { a, b := tcpPair(tb); return a, b },
		"unix": func(tb testing.TB) (net.Conn, net.Conn) { return unixPair(tb) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, _ := pair(t)
			r := must(NewReader(local, Config{}))
			errs := make(chan error)
			go func() {
				_, _, err := r.Drain(nil)
				errs <- err
			}()
			runtime.Gosched()
			local.Close()
			within(t, "Drain after Close", func() {
				if err := <-errs; !errors.Is(err, net.ErrClosed) {
					t.Errorf("Drain = %v", err)
				}
			})
			if _, _, err := r.TryDrain(nil); polls && !errors.Is(err, net.ErrClosed) {
				t.Errorf("TryDrain = %v", err)
			}
		})
	}
}

func unixPair(tb testing.TB) (local, peer *net.UnixConn) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "td") // a short name: sun_path has 108 bytes
	check(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		tb.Skip(err)
	}
	defer ln.Close()
	peer = must(net.DialUnix("unix", nil, ln.Addr().(*net.UnixAddr)))
	local = must(ln.AcceptUnix())
	tb.Cleanup(func() { local.Close(); peer.Close() })
	return local, peer
}

// G14: the end of the stream is latched, costs no further call, and does not
// concern writes.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	r := must(NewReader(local, Config{}))
	peer.Write([]byte("last words"))
	check(t, peer.CloseWrite())
	got, err := drainToEnd(r)
	if string(got) != "last words" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	reads := r.Stats().Reads
	for range 1000 {
		if b, state, err := r.Drain(nil); len(b) > 0 || state != EOF || err != nil {
			t.Fatalf("Drain = %q, %v, %v", b, state, err)
		}
		if b, state, err := r.TryDrain(nil); len(b) > 0 || state != EOF || err != nil {
			t.Fatalf("TryDrain = %q, %v, %v", b, state, err)
		}
	}
	if now := r.Stats().Reads; now != reads {
		t.Errorf("%d reads after the end", now-reads)
	}
	if _, err := local.Write([]byte("answer")); err != nil {
		t.Error(err)
	}
	local.CloseWrite()
	if b, err := io.ReadAll(peer); string(b) != "answer" || err != nil {
		t.Errorf("peer read %q, %v", b, err)
	}
}

// countingConn is what an instrumented or limited connection looks like: it has the
// SyscallConn of what it embeds, and a Read of its own.
type countingConn struct {
	*net.TCPConn
	n int
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.n += n
	return n, err
}

// G16: a wrapper's Read is not bypassed.
func TestWrappersAreReadThroughRead(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	if r := must(NewReader(local, Config{})); r.Fallback() == polls {
		t.Errorf("TCPConn: Fallback() = %v", r.Fallback())
	}
	c := &countingConn{TCPConn: local}
	r := must(NewReader(c, Config{}))
	if !r.Fallback() {
		t.Error("embedded TCPConn: Fallback() = false")
	}
	peer.Write([]byte("counted"))
	peer.CloseWrite()
	if b, err := drainToEnd(r); string(b) != "counted" || err != nil || c.n != len(b) {
		t.Errorf("%q, %v, %d counted", b, err, c.n)
	}
	if r := must(NewReader(tls.Client(peer, &tls.Config{}), Config{})); !r.Fallback() {
		t.Error("tls.Conn: Fallback() = false")
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	r = must(NewReader(a, Config{Prefix: []byte("x")}))
	if b, _, err := r.TryDrain(nil); string(b) != "x" || err != nil {
		t.Errorf("TryDrain = %q, %v", b, err)
	}
	if _, _, err := r.TryDrain(nil); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "net.pipe") {
		t.Errorf("TryDrain = %v", err)
	}
}

// G17: what a bufio.Reader holds is not in the socket any more.
func TestPrefix(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	peer.Write([]byte("header\nread ahead, "))
	br := bufio.NewReader(local)
	if line, err := br.ReadString('\n'); line != "header\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	ahead := must(br.Peek(br.Buffered()))
	r := must(NewReader(local, Config{Prefix: ahead, Budget: 6}))
	clear(ahead) // the Config's is a copy
	// The prefix does not wait for more, and counts towards no budget.
	b, state, err := r.Drain(nil)
	if string(b) != "read ahead, " || err != nil || polls && state != Empty {
		t.Errorf("Drain = %q, %v, %v", b, state, err)
	}
	peer.Write([]byte("and later"))
	peer.CloseWrite()
	if b, err := drainToEnd(r); string(b) != "and later" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// G18: drains and Reads of the same connection take turns, and race with nothing.
func TestConcurrentReaders(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	r := must(NewReader(local, Config{Budget: 4096}))
	const size = 4 << 20
	go func() {
		peer.Write(make([]byte, size))
		peer.CloseWrite()
	}()
	go peerEcho(peer)
	var mu sync.Mutex
	total := 0
	add := func(n int) { mu.Lock(); total += n; mu.Unlock() }
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				b, state, err := r.Drain(nil)
				if add(len(b)); err != nil || state == EOF {
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			b, state, err := r.TryDrain(nil)
			if add(len(b)); err != nil || state == EOF {
				return
			}
			runtime.Gosched()
		}
	})
	wg.Go(func() {
		buf := make([]byte, 1000)
		for {
			n, err := local.Read(buf)
			if add(n); err != nil {
				return
			}
		}
	})
	wg.Go(func() { // G19: a Write beside it is no race either
		for range 1000 {
			local.Write([]byte("ping"))
		}
		local.CloseWrite()
	})
	within(t, "reading by four", wg.Wait)
	if polls && total != size {
		t.Errorf("%d bytes in all, want %d", total, size)
	}
}

func peerEcho(peer net.Conn) { io.Copy(io.Discard, peer) }

// A deadline that is set again and again beside a drain neither deadlocks nor is
// missed.
func TestDeadlinesBesideDrains(t *testing.T) {
	t.Parallel()
	local, _ := tcpPair(t)
	r := must(NewReader(local, Config{}))
	within(t, "draining against deadlines", func() {
		for range 500 {
			go local.SetReadDeadline(time.Unix(1, 0))
			if _, _, err := r.Drain(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Drain = %v", err)
			}
			local.SetReadDeadline(time.Time{})
		}
	})
}
