// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// G15: unread input makes close(2) a reset, which destroys the last reply on its
// way, or unread in the peer's kernel.
func TestCloseGracefulSavesTheReply(t *testing.T) {
	t.Parallel()
	reply := bytes.Repeat([]byte("reply "), 10000)
	exchange := func(t *testing.T) (local, peer *net.TCPConn) {
		local, peer = tcpPair(t)
		peer.Write([]byte("a request of which the server reads no more than it must"))
		b := make([]byte, 1)
		io.ReadFull(local, b) // so that the rest is there, too
		local.Write(reply)
		return local, peer
	}
	t.Run("Close", func(t *testing.T) {
		t.Parallel()
		local, peer := exchange(t)
		local.Close()
		if got, err := io.ReadAll(peer); err == nil && len(got) == len(reply) {
			t.Error("nothing was lost, so the other half of this test proves nothing")
		}
	})
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"CloseGraceful":           func(c net.Conn) net.Conn { return c },
		"CloseGraceful of a Pump": func(c net.Conn) net.Conn { return must(NewPump(c, Config{})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, peer := exchange(t)
			conn := wrap(local)
			closed := make(chan error)
			go func() { closed <- CloseGraceful(soon(t), conn) }()
			peer.Write(make([]byte, 100<<10)) // the peer is not done either
			got, err := io.ReadAll(peer)
			if !bytes.Equal(got, reply) || err != nil {
				t.Errorf("peer read %d of %d bytes, %v", len(got), len(reply), err)
			}
			peer.Close()
			if err := <-closed; err != nil {
				t.Errorf("CloseGraceful = %v", err)
			}
			if _, err := local.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}

// pipeWithCloseWrite lets a net.Pipe be half-closed, as far as CloseGraceful can
// tell; its peer never answers that.
type pipeWithCloseWrite struct{ net.Conn }

func (pipeWithCloseWrite) CloseWrite() error { return nil }

func TestCloseGracefulIsBounded(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, f func(t *testing.T, conn, peer net.Conn) (want error, err error)) {
		synctest.Test(t, func(t *testing.T) {
			a, peer := net.Pipe()
			defer peer.Close()
			conn := &pipeWithCloseWrite{a}
			want, err := f(t, conn, peer)
			if ge, ok := errors.AsType[*GracefulError](err); !ok || !errors.Is(err, want) || ge.Err == nil {
				t.Errorf("CloseGraceful = %v, want %v", err, want)
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
	t.Run("by time", func(t *testing.T) {
		run(t, func(t *testing.T, conn, peer net.Conn) (error, error) {
			start := time.Now()
			err := CloseGraceful(t.Context(), conn)
			if since := time.Since(start); since != GracefulTimeout {
				t.Errorf("took %v", since)
			}
			return os.ErrDeadlineExceeded, err
		})
	})
	t.Run("by context", func(t *testing.T) {
		run(t, func(t *testing.T, conn, peer net.Conn) (error, error) {
			cause := errors.New("shutting down")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
			defer cancel()
			start := time.Now()
			err := CloseGraceful(ctx, conn)
			if since := time.Since(start); since != time.Second {
				t.Errorf("took %v", since)
			}
			return cause, err
		})
	})
	t.Run("by bytes", func(t *testing.T) {
		run(t, func(t *testing.T, conn, peer net.Conn) (error, error) {
			go func() {
				for b := make([]byte, 1<<20); ; {
					if _, err := peer.Write(b); err != nil {
						return
					}
				}
			}()
			err := CloseGraceful(t.Context(), conn)
			if ge, ok := errors.AsType[*GracefulError](err); ok && ge.Discarded <= GracefulBytes {
				t.Errorf("%d discarded", ge.Discarded)
			}
			return ErrFull, err
		})
	})
	t.Run("without CloseWrite", func(t *testing.T) {
		run(t, func(t *testing.T, conn, peer net.Conn) (error, error) {
			return errors.ErrUnsupported, CloseGraceful(t.Context(), conn.(*pipeWithCloseWrite).Conn)
		})
	})
}

// What a Pump has spilled for its caller is not what the peer still sends.
func TestCloseGracefulLeavesTheSpill(t *testing.T) {
	t.Parallel()
	q := spillQueue(t)
	p, peer := pumpOver(t, q, 50000)
	go func() {
		io.ReadAll(peer) // to the half-close
		peer.Write(make([]byte, 1000))
		peer.Close()
	}()
	before := q.Len()
	if err := CloseGraceful(soon(t), p); err != nil {
		t.Errorf("CloseGraceful = %v", err)
	}
	if n := q.Len(); before == 0 || n < before {
		t.Errorf("%d records are left of %d", n, before)
	}
	if _, err := p.Next(soon(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next = %v", err)
	}
}

// A Pump that has met the end already, in whatever way, is closed at once.
func TestCloseGracefulAfterTheEnd(t *testing.T) {
	t.Parallel()
	for _, want := range []error{nil, syscall.ECONNRESET} {
		steps := []step{{n: 5}, {err: want}}
		s := &script{tb: t, steps: steps}
		p := must(newPump(&pipeWithCloseWrite{s.conn()}, Config{}, s.sys()))
		<-p.done
		if err := CloseGraceful(soon(t), p); !errors.Is(err, want) {
			t.Errorf("CloseGraceful = %v, want %v", err, want)
		}
	}
}

// A connection without deadlines does not hold CloseGraceful of its Pump up.
func TestCloseGracefulOfAPumpIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, peer := net.Pipe()
		defer peer.Close()
		p := must(NewPump(noDeadlines{pipeWithCloseWrite{a}}, Config{}))
		synctest.Wait() // until it reads
		start := time.Now()
		err := CloseGraceful(t.Context(), p)
		if _, ok := errors.AsType[*GracefulError](err); !ok || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != GracefulTimeout {
			t.Errorf("CloseGraceful = %v after %v", err, time.Since(start))
		}
		a, peer = net.Pipe()
		defer peer.Close()
		p = must(NewPump(noDeadlines{pipeWithCloseWrite{a}}, Config{}))
		synctest.Wait()
		cause := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := CloseGraceful(ctx, p); !errors.Is(err, cause) {
			t.Errorf("CloseGraceful = %v", err)
		}
	})
}

type noDeadlines struct{ pipeWithCloseWrite }

func (noDeadlines) SetReadDeadline(time.Time) error { return nil }
