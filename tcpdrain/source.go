// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// sys is how this package reaches the kernel: the tests' seam.
type sys struct {
	raw    func(conn net.Conn) (syscall.RawConn, error)
	read   func(fd uintptr, p []byte) (int, error)
	window func(raw syscall.RawConn) (w window, ok bool)
	pipe   func() (r, w *os.File, err error)
}

// A window is what the kernel says about a connection's receive window.
type window struct {
	zero bool          // the peer has been told to send nothing
	idle time.Duration // since the last data came
}

var kernel = sys{raw: rawConn, read: readFD, window: receiveWindow, pipe: os.Pipe}

// A source is a stream to read from: one of net's own sockets through its RawConn,
// anything else through Read.
type source struct {
	conn net.Conn
	raw  syscall.RawConn // nil: fall back to Read
	sys  sys
}

func newSource(conn net.Conn, k sys) (source, error) {
	if conn == nil {
		return source{}, errors.New("tcpdrain: nil connection")
	}
	if _, packets := conn.(net.PacketConn); packets && network(conn) != "unix" {
		return source{}, fmt.Errorf("%w: %s, a %T", ErrNotStream, network(conn), conn)
	}
	raw, err := k.raw(conn)
	return source{conn: conn, raw: raw, sys: k}, err
}

// rawConn trusts the exact types of package net alone, and returns nil for others.
// A wrapper that embeds a *net.TCPConn has a SyscallConn method too, but reading
// past its Read would take ciphertext, or bypass what it counts or limits.
func rawConn(conn net.Conn) (syscall.RawConn, error) {
	if polls {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c.SyscallConn()
		case *net.UnixConn:
			return c.SyscallConn()
		}
	}
	return nil, nil
}

// readNow reads without waiting. It returns errAgain if there is nothing, io.EOF
// at the end, and otherwise an error as from net.Conn's Read.
func (s *source) readNow(fd uintptr, p []byte) (int, error) {
	for {
		switch n, err := s.sys.read(fd, p); {
		case err == syscall.EINTR:
		case err == errAgain:
			return 0, err
		case err != nil:
			return 0, s.opError(os.NewSyscallError("read", err))
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// wait is RawConn.Read: f is called until it returns true, at once and then each
// time the connection becomes readable.
func (s *source) wait(f func(fd uintptr) bool) error {
	err := s.raw.Read(f)
	if op, ok := err.(*net.OpError); ok {
		op.Op = "read" // not "raw-read": to the caller, this is a read like another
	}
	return err
}

func (s *source) opError(err error) error {
	return &net.OpError{Op: "read", Net: network(s.conn), Source: s.conn.LocalAddr(), Addr: s.conn.RemoteAddr(), Err: err}
}

func (s *source) window() (window, bool) {
	if s.raw == nil {
		return window{}, false
	}
	return s.sys.window(s.raw)
}

func network(conn net.Conn) string {
	if a := conn.LocalAddr(); a != nil {
		return a.Network()
	}
	return ""
}
