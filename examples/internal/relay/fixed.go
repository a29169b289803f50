// SPDX-License-Identifier: MIT

package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/tcpdrain"
	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// A Relay takes messages from an upstream that waits for nobody, and owes them to a
// client that may be slow, or away. Reading is apart from the work (the Pump), and
// the work is apart from the client (the Queue).
type Relay struct {
	Queue   *outbox.Queue
	Message int                    // length of a message in bytes
	Work    func(msg []byte) error // on each message before it is queued; may be nil
	Say     incident.Progress      // told of clients that come and go; may be nil

	taken, given atomic.Int64 // messages queued, and acknowledged
	pump         atomic.Pointer[tcpdrain.Pump]
}

// A counter is the client's protocol, and counts what the client acknowledges.
type counter struct {
	outbox.Framed
	given *atomic.Int64
}

func (c counter) ReadAck(r io.Reader) (seq uint64, err error) {
	if seq, err = c.Framed.ReadAck(r); err == nil {
		c.given.Add(1)
	}
	return seq, err
}

// Take reads messages from upstream until that ends, and queues them. It closes
// upstream. It returns nil at the end of the stream.
func (r *Relay) Take(ctx context.Context, upstream net.Conn) error {
	p, err := tcpdrain.NewPump(upstream, tcpdrain.Config{})
	if err != nil {
		return err
	}
	defer p.Close()
	defer context.AfterFunc(ctx, func() { p.Close() })()
	r.pump.Store(p)
	for msg := make([]byte, r.Message); ; {
		if _, err := io.ReadFull(p, msg); err == io.EOF {
			return nil
		} else if ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil {
			return fmt.Errorf("reading from %v: %w", upstream.RemoteAddr(), err)
		}
		if r.Work != nil {
			if err := r.Work(msg); err != nil {
				return err
			}
		}
		if _, err := r.Queue.AppendContext(ctx, msg); err != nil {
			return err
		}
		r.taken.Add(1)
	}
}

// Serve delivers what is queued to the client, one connection after the other: the
// newest is the one that counts. It closes ln, and returns when ctx is done or the
// queue has failed.
func (r *Relay) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel(nil)
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		clients.Go(func() {
			defer conn.Close()
			r.say("client %v is here, %d messages are owed to it", conn.RemoteAddr(), r.Queue.Len())
			// How a connection ends does not matter: what was not acknowledged goes
			// to the next one. A queue that has failed is the end of the relay.
			err := r.Queue.Deliver(ctx, conn, counter{given: &r.given})
			r.say("client %v is gone: %v", conn.RemoteAddr(), err)
			if errors.Is(err, outbox.ErrPoisoned) || errors.Is(err, outbox.ErrCorrupt) {
				cancel(err)
			}
		})
	}
}

func (r *Relay) say(format string, args ...any) {
	if r.Say != nil {
		r.Say(format, args...)
	}
}

// Report calls progress with the present rates, backlog and zero-window time until
// ctx is done.
func (r *Relay) Report(ctx context.Context, every time.Duration, progress incident.Progress) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	taken, given := r.taken.Load(), r.given.Load()
	for last := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var s tcpdrain.Stats
		if p := r.pump.Load(); p != nil {
			s = p.Stats()
		}
		in, out, now := r.taken.Load(), r.given.Load(), time.Now()
		rate := func(n int64) float64 { return float64(n) / now.Sub(last).Seconds() }
		progress("in %.0f/s, out %.0f/s, %d B in memory, backlog %d, zero window %d ms",
			rate(in-taken), rate(out-given), s.Held, r.Queue.Len(), s.ZeroWindowTime.Milliseconds())
		taken, given, last = in, out, now
	}
}

func fixed(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
	const messages = 120_000
	dir, err := os.MkdirTemp("", "relay-")
	if err != nil {
		return incident.Evidence{}, err
	}
	defer os.RemoveAll(dir)
	q, err := outbox.Open(dir, outbox.Config{})
	if err != nil {
		return incident.Evidence{}, err
	}
	defer q.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return incident.Evidence{}, err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up := &Upstream{Messages: messages, Burst: 2500}
	if err := up.start(ctx); err != nil {
		return incident.Evidence{}, errors.Join(err, ln.Close())
	}
	worked := 0
	relay := &Relay{Queue: q, Message: Size, Work: func([]byte) error {
		if worked++; worked%(messages/3) == 0 {
			time.Sleep(pause) // as long as what got the naive one reset
		}
		return nil
	}}
	client := &Client{Addr: ln.Addr().String(), Want: messages, Leave: []int{1000, messages / 2}, Away: 200 * time.Millisecond}

	// The first to fail ends the others.
	var wg sync.WaitGroup
	failed := make(chan error, 3)
	served, stop := context.WithCancel(ctx)
	watched := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && served.Err() == nil {
				failed <- err
				cancel()
			}
		})
	}
	wg.Go(func() { relay.Report(served, 200*time.Millisecond, progress) })
	watched(func() error { return relay.Serve(served, ln) })
	watched(func() error {
		conn, err := up.dial(ctx)
		if err != nil {
			return err
		}
		return relay.Take(ctx, conn)
	})
	watched(func() error {
		defer stop()
		if err := client.Run(ctx); err != nil {
			return err
		}
		return client.awaitAcks(ctx, q)
	})
	wg.Wait()
	<-up.done
	select {
	case err := <-failed:
		return incident.Evidence{}, err
	default:
	}
	s := relay.pump.Load().Stats()
	return incident.Evidence{
		Confirmed: !up.refused && up.sent == messages && client.got == messages && q.Len() == 0,
		Summary: fmt.Sprintf("%d of %d messages in order over %d connections, none lost",
			client.got, up.sent, client.connections),
		Facts: map[string]any{
			"refused": up.refused, "sent": up.sent, "received": client.got, "connections": client.connections,
			"repeated": client.repeated, "most_in_memory": s.MostHeld, "zero_window_ms": s.ZeroWindowTime.Milliseconds(),
			"unacknowledged": q.Len(),
		},
	}, nil
}
