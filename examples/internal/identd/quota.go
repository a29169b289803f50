// SPDX-License-Identifier: MIT

package identd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// patience bounds every wait of the story's actors.
const patience = 5 * time.Second

// A job is what became of one print job: whose it is and how large, or why not.
type job struct {
	user    string
	size    int64
	refused error
}

func (j job) String() string {
	if j.refused != nil {
		return fmt.Sprintf("refused (%v)", j.refused)
	}
	return "accepted, from " + j.user
}

// printJob is the print server of the story: it counts each user's bytes, and it
// trusts identd, at the client's end, to say whose job it is.
func printJob(ctx context.Context, conn net.Conn, identd netip.AddrPort) (j job, err error) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	here, there := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	// The client's machine is where identd runs, so that its port comes first.
	j.user, j.refused = Ask(ctx, identd, Pair{Server: uint16(there.Port), Client: uint16(here.Port)})
	verdict := "accepted"
	if j.refused != nil {
		verdict = "refused"
	}
	if _, err := fmt.Fprintln(conn, verdict); err != nil {
		return j, err
	}
	j.size, err = io.Copy(io.Discard, conn) // refused or not: a close with input unread would reset the verdict away
	return j, err
}

// jobSize is more than a socket's receive buffer takes before the server reads, so
// that the end of the job is not acknowledged until it does.
const jobSize = 512 << 10

// A client sends one job.
type client struct {
	conn  *net.TCPConn
	hasty bool
}

// newClient connects. A hasty client, as there are in production, sends its job and
// half-closes at once; a patient one, as in every test, waits for the verdict first.
func newClient(addr string, hasty bool) (c client, err error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return client{}, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	c = client{conn.(*net.TCPConn), hasty}
	if hasty {
		if err = c.send(); err != nil {
			c.conn.Close()
		}
	}
	return c, err
}

func (c client) send() error {
	_, err := c.conn.Write(make([]byte, jobSize))
	return errors.Join(err, c.conn.CloseWrite())
}

// finish is the rest of the client's part.
func (c client) finish() error {
	defer c.conn.Close()
	var verdict string
	if _, err := fmt.Fscanln(c.conn, &verdict); err != nil || c.hasty {
		return err
	}
	return c.send()
}
