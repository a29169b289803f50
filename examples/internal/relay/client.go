// SPDX-License-Identifier: MIT

package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// A Client takes what a [Relay] owes it. It is one that cannot be relied on: it
// breaks the connection off after as many messages as Leave says, and comes back.
type Client struct {
	Addr  string
	Want  int           // messages in all
	Leave []int         // ascending
	Away  time.Duration // before it comes back

	got         int // messages, in order
	last        uint64
	repeated    int // records that came again, as they may after a broken connection
	connections int
}

var errLeave = errors.New("the client leaves")

// Run takes messages until it has all it wants. It returns an error if one is
// missing or out of order.
func (c *Client) Run(ctx context.Context) error {
	for {
		err := c.connect(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, errLeave) {
			return fmt.Errorf("after %d messages: %w", c.got, err)
		}
		select {
		case <-time.After(c.Away):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *Client) connect(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c.connections++
	r := bufio.NewReader(conn)
	for f := (outbox.Framed{}); c.got < c.Want; {
		rec, err := f.ReadRecord(r)
		if err == nil {
			err = c.handle(rec)
		}
		if err == nil {
			err = f.WriteAck(conn, rec.Seq)
		}
		if errors.Is(err, errLeave) {
			conn.(*net.TCPConn).SetLinger(0) // without a goodbye
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// handle keeps the highest sequence number it has acted on: delivery is at least once.
func (c *Client) handle(rec outbox.Record) error {
	if rec.Seq <= c.last {
		c.repeated++
		return nil
	}
	if rec.Seq != c.last+1 || !bytes.Equal(rec.Data, message(c.got)) {
		return fmt.Errorf("message %d is %q, as record %d after %d", c.got, rec.Data, rec.Seq, c.last)
	}
	if len(c.Leave) > 0 && c.got == c.Leave[0] {
		c.Leave = c.Leave[1:]
		return errLeave // in the middle of what is on its way
	}
	c.got++
	c.last = rec.Seq
	if c.got%20_000 == 0 {
		time.Sleep(20 * time.Millisecond) // slow
	}
	return nil
}

// awaitAcks waits until the relay knows that its client has everything.
func (c *Client) awaitAcks(ctx context.Context, q *outbox.Queue) error {
	for q.Len() > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
