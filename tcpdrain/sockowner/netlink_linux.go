// SPDX-License-Identifier: MIT

package sockowner

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errNoSocket is sock_diag's ENOENT: no such socket, or no handler to look for it.
var errNoSocket = errors.New("no such socket")

// patience bounds the waiting of one conn. The kernel answers before send returns,
// so only a reply that got lost is ever waited for.
const patience = time.Second

// A conn is a sock_diag socket for one lookup. It is opened for each, in about 3 µs,
// because a socket belongs to the network namespace of the thread that opened it, and
// a kept one would go on answering for that namespace whoever calls.
type conn struct {
	sys      *system
	fd       int
	seq      uint32
	deadline time.Time
	buf      [1024]byte // a reply without the attributes we do not ask for takes some 120
}

func (sys *system) dial() (*conn, error) {
	fd, err := sys.socket()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &conn{sys: sys, fd: fd, deadline: time.Now().Add(patience)}, nil
}

func (c *conn) close() { c.sys.close(c.fd) }

// exact asks for the one socket that q names. What comes back need not be it: see
// [entry.is]. It fails with errNoSocket if there is none.
func (c *conn) exact(q tuple, device uint32) (entry, error) {
	m, err := c.roundTrip(request{tuple: q, device: device, flags: unix.NLM_F_REQUEST, states: ^uint32(0)})
	switch {
	case err != nil:
		return entry{}, err
	case m.kind == unix.SOCK_DIAG_BY_FAMILY:
		return m.entry, nil
	case m.kind == unix.NLMSG_ERROR && m.errno == unix.ENOENT:
		return entry{}, errNoSocket
	default:
		return entry{}, m.err()
	}
}

// probe returns nil if the kernel has a handler for q's family. It asks for a dump of
// the sockets in none of the states, which is empty, and done without looking.
func (c *conn) probe(q tuple) error {
	m, err := c.roundTrip(request{tuple: q, flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP})
	if err == nil && (m.kind != unix.NLMSG_DONE || m.errno != 0) {
		err = m.err()
	}
	return err
}

// roundTrip sends r and returns the first message of the kernel's that answers it.
func (c *conn) roundTrip(r request) (message, error) {
	c.seq++
	r.seq = c.seq
	for {
		err := c.sys.send(c.fd, r.append(nil))
		if err == nil {
			break
		}
		if err != unix.EINTR || !c.patient() {
			return message{}, os.NewSyscallError("send", err)
		}
	}
	for c.patient() {
		n, sender, err := c.sys.recv(c.fd, c.buf[:])
		if err == unix.EAGAIN {
			err = c.sys.wait(c.fd, time.Until(c.deadline))
			if err == nil || err == unix.EINTR {
				continue
			}
			return message{}, os.NewSyscallError("poll", err)
		}
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return message{}, os.NewSyscallError("recv", err)
		case sender != 0: // another process's; anybody may write to a netlink socket who is privileged
			continue
		case n > len(c.buf):
			return message{}, fmt.Errorf("netlink reply of %d bytes: %w", n, errMalformed)
		}
		// A reply to an earlier question, which was given up, is passed over.
		if m, ok, err := parse(c.buf[:n], r.seq); ok || err != nil {
			return m, err
		}
	}
	return message{}, fmt.Errorf("no reply within %v: %w", patience, os.ErrDeadlineExceeded)
}

func (c *conn) patient() bool { return time.Now().Before(c.deadline) }
