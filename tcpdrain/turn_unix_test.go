// SPDX-License-Identifier: MIT

//go:build unix

package tcpdrain

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// budget is what a test needs few of for a turn.
const budget = 64 << 10

// endless is a socket whose peer is always faster, read without the kernel.
func endless(pipe func() (r, w *os.File, err error)) sys {
	s := (&script{}).sys()
	s.read = func(_ uintptr, p []byte) (int, error) { return len(p), nil }
	s.pipe = pipe
	return s
}

// On one processor, a Pump that never waits and its caller keep each other runnable
// for ever, and the runtime would look at the network every 10 ms.
func TestABusyPumpGivesOthersTheirTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, name := range []string{"direct", "fallback"} {
		t.Run(name, func(t *testing.T) {
			k := endless(os.Pipe)
			if name == "fallback" {
				k.raw = rawConn
			}
			p := must(newPump(endlessConn{}, Config{}, k))
			defer p.Close()
			if p.Fallback() != (name == "fallback") {
				t.Error("Fallback() =", p.Fallback())
			}
			go p.WriteTo(io.Discard)
			local, peer := tcpPair(t)
			go echo(local)
			fewest, b := int64(math.MaxInt64), make([]byte, 1)
			for range 50 { // of which a busy machine may delay some
				before := p.Stats().BudgetHits
				peer.Write(b)
				must(io.ReadFull(peer, b))
				fewest = min(fewest, p.Stats().BudgetHits-before)
			}
			if fewest > 20 {
				t.Errorf("an answer takes %d turns at best", fewest)
			}
		})
	}
}

type endlessConn struct{ scriptConn }

func (endlessConn) Read(b []byte) (int, error) { return len(b), nil }

// A Pump that never waits needs descriptors for that, and does without if there are
// none. Where turns take long it reads on for a while between them.
func TestTurnsWithoutDescriptors(t *testing.T) {
	t.Parallel()
	const long = 16 * time.Millisecond
	var last time.Time
	var calls atomic.Int64
	p := must(newPump(scriptConn{}, Config{Budget: budget}, endless(func() (r, w *os.File, err error) {
		if since := time.Since(last); since < long/turnShare {
			t.Errorf("the next turn %v after one of %v", since, long)
		}
		time.Sleep(long)
		last = time.Now()
		calls.Add(1)
		return nil, nil, os.NewSyscallError("pipe2", syscall.EMFILE)
	})))
	defer p.Close()
	go p.WriteTo(io.Discard)
	eventually(t, func() bool { return calls.Load() > 3 })
	if s := p.Stats(); s.Bytes < 3*budget || s.BudgetHits < 3 {
		t.Errorf("%+v", s)
	}
}

// What the poller does not take, such as /dev/null, is not waited for.
func TestTurnsWithoutAPoller(t *testing.T) {
	t.Parallel()
	var made []*os.File
	p := must(newPump(scriptConn{}, Config{Budget: budget}, endless(func() (r, w *os.File, err error) {
		r, w = must(os.Open(os.DevNull)), must(os.OpenFile(os.DevNull, os.O_WRONLY, 0))
		made = append(made, r, w)
		return r, w, nil
	})))
	go p.WriteTo(io.Discard)
	eventually(t, func() bool { return p.Stats().BudgetHits > 3 })
	p.Close()
	<-p.done
	if len(made) < 6 {
		t.Errorf("%d descriptors for three turns: what failed was kept", len(made))
	}
	for _, f := range made {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Error("left open")
		}
	}
}

// Close does not wait for a turn, and whenever it comes the Pump ends, and leaves no
// descriptor behind (see TestMain).
func TestCloseDuringATurn(t *testing.T) {
	t.Parallel()
	t.Run("that begins", func(t *testing.T) {
		t.Parallel()
		ready := make(chan *Pump, 1)
		p := must(newPump(scriptConn{}, Config{Budget: budget}, endless(func() (r, w *os.File, err error) {
			check(t, (<-ready).Close())
			return os.Pipe()
		})))
		ready <- p
		within(t, "a Pump", func() { <-p.done })
		if _, err := p.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next = %v", err)
		}
	})
	t.Run("that waits", func(t *testing.T) {
		t.Parallel()
		byteComes, sendIt := newPipe()
		elsewhere, w := newPipe()
		defer elsewhere.Close()
		defer sendIt.Close()
		p := must(newPump(scriptConn{}, Config{Budget: budget}, endless(func() (*os.File, *os.File, error) {
			return byteComes, w, nil
		})))
		must(elsewhere.Read(make([]byte, 1)))
		within(t, "Close", func() { check(t, p.Close()) })
		select {
		case <-p.done:
			t.Error("the Pump did not wait for its turn to end")
		case <-time.After(20 * time.Millisecond):
		}
		must(sendIt.Write(make([]byte, 1)))
		within(t, "a Pump", func() { <-p.done })
		for _, f := range []*os.File{byteComes, w} {
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Error("left open")
			}
		}
	})
	t.Run("at some time", func(t *testing.T) {
		t.Parallel()
		for i := range 200 {
			p := must(newPump(endlessConn{}, Config{Budget: 1, Chunk: 1}, endless(os.Pipe)))
			for p.Stats().BudgetHits < int64(i) {
				must(p.Next(t.Context()))
			}
			p.Close()
			within(t, "a Pump", func() { <-p.done })
		}
	})
}

// A Pump that waits, for room or for its peer, has given its descriptors back.
func TestIdlePumpsHoldNoDescriptors(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]func(s Stats) bool{
		"for room":            func(s Stats) bool { return s.Stalls == 1 },
		"for its peer":        func(s Stats) bool { return s.Eagains == 1 },
		"for its peer's Read": func(s Stats) bool { return s.Bytes == 8*budget },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, _ := tcpPair(t)
			var conn net.Conn = local
			made := make(chan *os.File, 100)
			k := kernel
			k.pipe = func() (r, w *os.File, err error) {
				r, w = newPipe()
				made <- r
				made <- w
				return r, w, nil
			}
			total := 0
			read := func(p []byte) int {
				n := min(len(p), 8*budget-total)
				total += n
				return n
			}
			k.read = func(fd uintptr, p []byte) (int, error) {
				if n := read(p); n > 0 {
					return n, nil
				}
				return readFD(fd, p)
			}
			cfg := Config{Budget: budget, Max: 16 * budget}
			switch name {
			case "for room":
				cfg.Max = 4 * budget
			case "for its peer's Read":
				conn = readConn{local, func(b []byte) (int, error) {
					if n := read(b); n > 0 {
						return n, nil
					}
					return local.Read(b)
				}}
			}
			p := must(newPump(conn, cfg, k))
			defer p.Close()
			eventually(t, func() bool { return idle(p.Stats()) })
			for f := <-made; ; f = <-made {
				eventually(t, func() bool { _, err := f.Stat(); return errors.Is(err, os.ErrClosed) })
				if len(made) == 0 {
					break
				}
			}
		})
	}
}

// A turn allocates nothing, once there are descriptors.
func TestTurnsAllocateNothing(t *testing.T) {
	s := turnstile{pipe: os.Pipe}
	defer s.close()
	if n := testing.AllocsPerRun(100, s.turn); n != 0 {
		t.Errorf("a turn allocates %v times", n)
	}
}

func newPipe() (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	return r, w
}
