// SPDX-License-Identifier: MIT

package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Size is the length of an upstream's message in bytes.
const Size = 13

// An Upstream is server A of the story. It sends Messages messages of 13 bytes to
// whoever connects first, in bursts of Burst every 10 ms, never blocks, and hangs up
// on a receiver for whom the kernel has no room left.
type Upstream struct {
	Messages int
	Burst    int

	ln   net.Listener
	done chan struct{}

	// Valid once done is closed.
	sent    int   // messages that the kernel took
	refused bool  // it hung up because the kernel took no more
	err     error // anything else that went wrong
}

func (u *Upstream) start(ctx context.Context) (err error) {
	if u.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	u.done = make(chan struct{})
	go func() {
		defer close(u.done)
		defer u.ln.Close()
		defer context.AfterFunc(ctx, func() { u.ln.Close() })()
		conn, err := u.ln.Accept()
		if err != nil {
			u.err = err
			return
		}
		defer conn.Close()
		u.send(ctx, conn.(*net.TCPConn))
	}()
	return nil
}

func (u *Upstream) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", u.ln.Addr().String())
}

func (u *Upstream) send(ctx context.Context, conn *net.TCPConn) {
	// A buffer of its own makes the story the same on every machine. The kernel
	// would let it grow to megabytes, which only takes longer to fill.
	conn.SetWriteBuffer(256 << 10)
	conn.SetNoDelay(false)
	burst := time.NewTicker(10 * time.Millisecond)
	defer burst.Stop()
	for ; ; <-burst.C {
		if ctx.Err() != nil {
			u.err = context.Cause(ctx)
			return
		}
		for range u.Burst {
			if u.sent == u.Messages {
				return
			}
			switch err := sendNow(conn, message(u.sent)); {
			case errors.Is(err, errWouldBlock):
				u.refused = true
				conn.SetLinger(0) // what could not be sent in time is of no use any more
				return
			case err != nil:
				u.err = err
				return
			}
			u.sent++
		}
	}
}

var errWouldBlock = errors.New("the kernel has no room")

func message(i int) []byte { return fmt.Appendf(nil, "%0*d\n", Size-1, i) }
