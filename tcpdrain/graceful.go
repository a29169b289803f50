// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// What CloseGraceful puts up with.
const (
	GracefulTimeout = 5 * time.Second // if the context has no earlier deadline
	GracefulBytes   = 16 << 20        // of unread data
)

// A GracefulError reports that [CloseGraceful] closed the connection before the
// peer had ended its side, so that the peer may have lost what was last sent to it.
type GracefulError struct {
	Discarded int64 // bytes that the peer had still sent
	Err       error // why it did not wait longer
}

func (e *GracefulError) Error() string {
	return fmt.Sprintf("tcpdrain: closed before the peer did, %d bytes discarded: %v", e.Discarded, e.Err)
}

func (e *GracefulError) Unwrap() error { return e.Err }

// CloseGraceful closes conn so that the peer can read all that was written to it.
// Closing a TCP connection that has unread data sends a reset (RFC 9293 §3.10.4,
// RFC 2525 §2.17), which destroys what the peer has not read yet. CloseGraceful
// says that nothing more will be written, discards what the peer still sends until
// that ends its side too, and then closes.
//
// It always closes conn. It returns nil if the peer ended its side first, and
// otherwise a [*GracefulError] wrapping [context.Cause] of ctx,
// [os.ErrDeadlineExceeded] after [GracefulTimeout], [ErrFull] after [GracefulBytes],
// [errors.ErrUnsupported] for a conn without CloseWrite, or the error of reading.
// It replaces the read deadline of conn, and must not run beside a Read of it, but
// for a [Pump], whose calls it ends as Close does. What the Pump holds is dropped, and
// what is in its Config.Spill stays there.
func CloseGraceful(ctx context.Context, conn net.Conn) error {
	n, err := linger(ctx, conn)
	closeErr := conn.Close()
	if err != nil {
		return &GracefulError{n, err}
	}
	return closeErr
}

func linger(ctx context.Context, conn net.Conn) (n int64, err error) {
	if err := closeWrite(conn); err != nil {
		return 0, err
	}
	if p, ok := conn.(*Pump); ok {
		if err := p.retire(ctx); err == io.EOF {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		conn = p.conn
	}
	if err := conn.SetReadDeadline(time.Now().Add(GracefulTimeout)); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c := newChunk(64 << 10)
	defer c.free()
	for n <= GracefulBytes {
		k, err := conn.Read(c.buf)
		n += int64(k)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return n, nil
		case ctx.Err() != nil:
			return n, context.Cause(ctx)
		default:
			return n, err
		}
	}
	return n, ErrFull
}

func closeWrite(conn net.Conn) error {
	c, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("tcpdrain: CloseWrite of a %T: %w", conn, errors.ErrUnsupported)
	}
	return c.CloseWrite()
}
