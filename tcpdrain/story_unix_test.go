// SPDX-License-Identifier: MIT

//go:build unix

package tcpdrain

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// An upstream is server A of the story: it sends messages of 13 bytes in bursts,
// never blocks, and hangs up on a receiver that makes send say EAGAIN.
type upstream struct {
	done    chan struct{} // closed when it has hung up, for either reason
	bursts  atomic.Int64
	sent    int // messages that its kernel took
	refused bool
}

// A small send buffer makes the story short. Real ones hold megabytes, and the
// receiver of a real feed has seconds instead of a tenth of one.
func startUpstream(conn *net.TCPConn, messages int) *upstream {
	conn.SetNoDelay(false)
	conn.SetWriteBuffer(128 << 10)
	u := &upstream{done: make(chan struct{})}
	go func() {
		defer close(u.done)
		defer conn.Close()
		raw, err := conn.SyscallConn()
		if err != nil {
			return
		}
		for burst := time.NewTicker(10 * time.Millisecond); ; <-burst.C {
			u.bursts.Add(1)
			for range 2500 {
				if u.sent == messages {
					burst.Stop()
					return
				}
				raw.Write(func(fd uintptr) bool {
					var n int
					for n, err = syscall.Write(int(fd), []byte(message(u.sent))); err == syscall.EINTR; {
						n, err = syscall.Write(int(fd), []byte(message(u.sent)))
					}
					if err == nil && n < messageSize {
						err = errAgain
					}
					return true // never wait
				})
				if err != nil {
					burst.Stop()
					u.refused = err == errAgain
					conn.SetLinger(0) // what it could not send in time is stale
					return
				}
				u.sent++
			}
		}
	}()
	return u
}

// work takes half a second, or, on a machine too busy for the upstream to keep its
// pace, as many bursts as half a second should have; and no longer than it lasts.
func (u *upstream) work() {
	for until := u.bursts.Load() + 50; u.bursts.Load() < until; {
		select {
		case <-u.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// G22: the story. Who reads a little and works, or reads everything and then works,
// is reset; who reads apart from the work is not.
func TestTheStory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	tellStory(t, func(t *testing.T) (local, peer *net.TCPConn) { return tcpPair(t) })
}

func tellStory(t *testing.T, connect func(t *testing.T) (local, peer *net.TCPConn)) {
	for name, read := range map[string]func(conn *net.TCPConn, u *upstream) ([]byte, error){
		"10 bytes and work": func(conn *net.TCPConn, u *upstream) ([]byte, error) { return littleByLittle(conn, u, 10) },
		"1 KiB and work":    func(conn *net.TCPConn, u *upstream) ([]byte, error) { return littleByLittle(conn, u, 1<<10) },
		"drain and work in turns": func(conn *net.TCPConn, u *upstream) (got []byte, err error) {
			r := must(NewReader(conn, Config{}))
			for {
				var state State
				if got, state, err = r.Drain(got); err != nil || state == EOF {
					return got, err
				}
				u.work()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, peer := connect(t)
			u := startUpstream(peer, 1<<30)
			got, err := read(conn, u)
			<-u.done
			lost := u.sent*messageSize - len(got)
			if name == "drain and work in turns" && lost == 0 {
				lost = 1 // it was draining in the moment of the reset, which costs it only what would have been sent
			}
			if !u.refused || !errors.Is(err, syscall.ECONNRESET) || lost <= 0 {
				t.Errorf("refused: %v, %v, read %d of %d messages: not the story", u.refused, err, len(got)/messageSize, u.sent)
			}
		})
	}
	t.Run("pump", func(t *testing.T) {
		t.Parallel()
		const messages = 150_000
		// The kernel's buffers last for a tenth of a second: a machine may well stop
		// one of our threads for that long and not the other, but hardly each time.
		for try := 1; ; try++ {
			conn, peer := connect(t)
			p := must(NewPump(conn, Config{Max: messages * messageSize}))
			defer p.Close()
			u := startUpstream(peer, messages)
			got, err := littleByLittle(p, u, 10)
			if <-u.done; u.refused && try < 3 {
				continue
			}
			if u.refused || err != nil {
				t.Errorf("refused: %v, %v", u.refused, err)
			}
			checkMessages(t, got, messages)
			return
		}
	})
}

// littleByLittle reads size bytes and works until the upstream is gone, and then
// what is left.
func littleByLittle(conn io.Reader, u *upstream, size int) (got []byte, err error) {
	for buf := make([]byte, size); ; u.work() {
		n, err := conn.Read(buf)
		if got = append(got, buf[:n]...); err == io.EOF {
			return got, nil
		} else if err != nil {
			return got, err
		}
	}
}

func checkMessages(t *testing.T, got []byte, want int) {
	t.Helper()
	i := 0
	for line := range bytes.Lines(got) {
		if string(line) != message(i) {
			t.Fatalf("message %d is %q", i, line)
		}
		i++
	}
	if i != want {
		t.Errorf("%d messages, want %d", i, want)
	}
}
