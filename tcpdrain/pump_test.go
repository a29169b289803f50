// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var _ interface {
	net.Conn
	io.WriterTo
} = (*Pump)(nil)

func TestPumpDeliversTheStream(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(p *Pump) ([]byte, error){
		"Read": func(p *Pump) ([]byte, error) { return io.ReadAll(p) },
		"WriteTo": func(p *Pump) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(&b, p)
			return b.Bytes(), err
		},
		"Next": func(p *Pump) (got []byte, err error) {
			for {
				b, err := p.Next(context.Background())
				if err == io.EOF {
					return got, nil
				} else if err != nil {
					return got, err
				}
				got = append(got, b...)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, peer := tcpPair(t)
			p := must(NewPump(local, Config{Max: 1 << 20}))
			defer p.Close()
			want := pattern(9 << 20)
			go func() {
				peer.Write(want)
				peer.CloseWrite()
			}()
			got, err := take(p)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v, want %d; equal: %v", len(got), err, len(want), bytes.Equal(got, want))
			}
			if _, err := p.Next(t.Context()); err != io.EOF {
				t.Errorf("Next = %v, want io.EOF again", err)
			}
			if s := p.Stats(); s.Bytes != int64(len(want)) || s.MostHeld > 1<<20 || s.Held != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// In a bubble a Pump of a net.Pipe waits on channels alone, so that time passes.
func TestPumpDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		local, peer := net.Pipe()
		defer peer.Close()
		p := must(NewPump(local, Config{}))
		defer p.Close()
		if !p.Fallback() {
			t.Error("Fallback() = false")
		}
		start := time.Now()
		at := func(what string, want time.Duration, err error) {
			t.Helper()
			ne, ok := errors.AsType[net.Error](err)
			if since := time.Since(start); since != want || !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !ne.Timeout() {
				t.Errorf("%s = %v after %v, want a timeout after %v", what, err, since, want)
			}
		}
		p.SetReadDeadline(start.Add(time.Second))
		_, err := p.Read(make([]byte, 1))
		at("Read", time.Second, err)
		_, err = p.Next(t.Context())
		at("Next", time.Second, err)

		// Moved while Read waits, for two of them.
		p.SetDeadline(start.Add(time.Hour))
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := p.Read(make([]byte, 1))
				at("Read", 3*time.Second, err)
			})
		}
		time.Sleep(time.Second)
		p.SetReadDeadline(start.Add(3 * time.Second))
		wg.Wait()

		// What is held when the deadline passes is there when it is moved.
		p.SetReadDeadline(time.Time{})
		peer.Write([]byte("held"))
		p.SetReadDeadline(start)
		_, err = p.Read(make([]byte, 1))
		at("Read of what is held", 3*time.Second, err)
		p.SetReadDeadline(start.Add(time.Hour))
		if b, err := p.Next(t.Context()); string(b) != "held" || err != nil {
			t.Errorf("Next = %q, %v", b, err)
		}
		// A deadline that was replaced does not come.
		p.SetReadDeadline(time.Time{})
		time.Sleep(2 * time.Hour)
		peer.Write([]byte("x"))
		if b, err := p.Next(t.Context()); string(b) != "x" || err != nil {
			t.Errorf("Next = %q, %v", b, err)
		}
	})
}

func TestNextContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		local, peer := net.Pipe()
		defer peer.Close()
		p := must(NewPump(local, Config{}))
		defer p.Close()
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		if _, err := p.Next(ctx); err != cause {
			t.Errorf("Next = %v", err)
		}
		peer.Write([]byte("data first"))
		if b, err := p.Next(ctx); string(b) != "data first" || err != nil {
			t.Errorf("Next = %q, %v", b, err)
		}
	})
}

// G9: Close ends every call that waits, and the goroutine (see TestMain).
func TestPumpClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		local, peer := net.Pipe()
		defer peer.Close()
		p := must(NewPump(local, Config{}))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := p.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read = %v", err)
				}
			})
		}
		synctest.Wait()
		check(t, p.Close())
		wg.Wait()
		if _, err := p.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next = %v", err)
		}
		if err := p.SetReadDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetReadDeadline = %v", err)
		}
	})
}

// G6: the caller's code runs outside of everything that Close waits for.
func TestPumpCloseInsideTheWork(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	saturate(peer)
	p := must(NewPump(local, Config{}))
	within(t, "a writer that closes what it is written from", func() {
		_, err := p.WriteTo(writerFunc(func(b []byte) (int, error) {
			p.Read(nil)
			p.Stats()
			return len(b), p.Close()
		}))
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteTo = %v", err)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// What a Pump has in hand when it is closed is nobody else's memory.
func TestBatchSurvivesClose(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{}))
	peer.Write(bytes.Repeat([]byte("a"), 100))
	batch := must(p.Next(soon(t)))
	p.Close()
	local, peer = tcpPair(t)
	q := must(NewPump(local, Config{}))
	defer q.Close()
	peer.Write(bytes.Repeat([]byte("b"), 100))
	must(q.Next(soon(t)))
	if bytes.ContainsRune(batch, 'b') {
		t.Error("the batch of a closed Pump was given to another")
	}
}

func TestPumpPrefix(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	ahead := []byte("ahead")
	p := must(NewPump(local, Config{Prefix: ahead, Max: 2, Full: Fail}))
	defer p.Close()
	clear(ahead)
	if b, err := p.Next(soon(t)); string(b) != "ahead" || err != nil {
		t.Errorf("Next = %q, %v", b, err)
	}
	peer.Write([]byte("x"))
	if b, err := p.Next(soon(t)); string(b) != "x" || err != nil {
		t.Errorf("Next = %q, %v", b, err)
	}
}

// A deadline left on the connection by whoever had it before does not end the Pump.
func TestPumpClearsTheDeadline(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	check(t, local.SetReadDeadline(time.Unix(1, 0)))
	p := must(NewPump(local, Config{}))
	defer p.Close()
	peer.Write([]byte("x"))
	if b, err := p.Next(soon(t)); string(b) != "x" || err != nil {
		t.Errorf("Next = %q, %v", b, err)
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){
		"direct":   func(tb testing.TB) (net.Conn, net.Conn) { a, b := tcpPair(tb); return a, b },
		"fallback": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, peer := pair(t)
			defer peer.Close()
			p := must(NewPump(local, Config{Max: 1000, Full: Fail}))
			defer p.Close()
			go peer.Write(pattern(5000))
			got, err := io.ReadAll(&lateReader{p, t})
			if len(got) != 1001 || !isStream(got) || err != ErrFull {
				t.Errorf("%d bytes, %v, want the 1001 that were one too many, then ErrFull", len(got), err)
			}
		})
	}
	t.Run("exactly full is not too full", func(t *testing.T) {
		t.Parallel()
		local, peer := tcpPair(t)
		p := must(NewPump(local, Config{Max: 1000, Full: Fail}))
		defer p.Close()
		peer.Write(pattern(1000))
		peer.CloseWrite()
		if got, err := io.ReadAll(&lateReader{p, t}); len(got) != 1000 || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// A lateReader reads once the Pump will read no more.
type lateReader struct {
	p *Pump
	t *testing.T
}

func (r *lateReader) Read(b []byte) (int, error) {
	eventually(r.t, func() bool {
		r.p.mu.Lock()
		defer r.p.mu.Unlock()
		return r.p.end != nil
	})
	return r.p.Read(b)
}

// G23: past Max reading stops, below Resume it goes on, though the peer, which has
// sent everything long ago, gives no new edge.
func TestBlockBoundsAndResumes(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Chunk: 4 << 10, Max: 32 << 10}))
	defer p.Close()
	const size = 100 << 10 // fits into the kernel's buffers
	peer.Write(pattern(size))
	eventually(t, func() bool { return p.Stats().Stalls == 1 })
	if s := p.Stats(); s.Held != 32<<10 || s.StallTime <= 0 {
		t.Errorf("%+v", s)
	}
	ctx := soon(t)
	var got []byte
	take := func() {
		b, err := p.Next(ctx)
		check(t, err)
		if len(b) > 4<<10 {
			t.Errorf("a batch of %d bytes", len(b))
		}
		if got = append(got, b...); p.Stats().Held > 32<<10 {
			t.Errorf("%+v", p.Stats())
		}
	}
	for len(got) < 24<<10 { // down to Resume, and then no further: it must fill up again
		take()
	}
	eventually(t, func() bool { return p.Stats().Stalls == 2 })
	if s := p.Stats(); s.Held != 32<<10 {
		t.Errorf("%+v", s)
	}
	for len(got) < size {
		take()
	}
	if s := p.Stats(); !isStream(got) || s.MostHeld != 32<<10 || s.Held != 0 {
		t.Errorf("%+v", s)
	}
}

// Small messages that pile up share chunks: what they take is bounded too.
func TestSmallMessagesAreHeldTightly(t *testing.T) {
	t.Parallel()
	steps := make([]step, 0, 20000)
	for range 10000 {
		steps = append(steps, step{n: 13}, step{err: errAgain})
	}
	s := &script{tb: t, steps: steps}
	p := must(newPump(s.conn(), Config{Chunk: 4096}, s.sys()))
	defer p.Close()
	eventually(t, func() bool { return p.Stats().Bytes == 130000 })
	p.mu.Lock()
	chunks, memory := 0, 0
	for c := p.head; c != nil; c = c.next {
		chunks++
		memory += cap(c.buf)
	}
	p.mu.Unlock()
	if memory > 130000*4/3+2*4096 {
		t.Errorf("%d chunks, %d bytes, for 130000", chunks, memory)
	}
	got, err := io.ReadAll(p)
	if !isStream(got) || len(got) != 130000 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A broken Read that gives neither data nor an error does not spin for ever.
func TestNoProgress(t *testing.T) {
	t.Parallel()
	p := must(NewPump(idleConn{}, Config{}))
	defer p.Close()
	if _, err := p.Next(soon(t)); err != io.ErrNoProgress {
		t.Errorf("Next = %v", err)
	}
	if err := p.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite = %v", err)
	}
}

type idleConn struct{ scriptConn }

func (idleConn) Read([]byte) (int, error) { return 0, nil }
