// SPDX-License-Identifier: MIT

// Relay shows the incident that tcpdrain grew from: a server that reads a little,
// works, and reads again is hung up on by an upstream that does not block.
//
// Copy Relay of examples/internal/relay when you must take messages from somebody
// who waits for nobody, and deliver them to somebody who is slow, or away.
//
//	go run ./examples/relay           # the story, failure and fix
//	go run ./examples/relay -naive    # the failure alone, as it unfolds
//	go run ./examples/relay -upstream HOST:PORT -listen :4000 -dir /var/spool/relay
//
// The last form relays messages of -size bytes to the client that connects to
// -listen, which reads and acknowledges them as outbox.Framed says. Each second it
// prints how much is coming in and going out, what is owed to the client, and for
// how long the upstream has found no room. It ends, with status 0, on an interrupt
// or SIGTERM, and with status 1 when the upstream fails or the disk does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/examples/internal/relay"
	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

func main() {
	incident.Dispatch(relay.Incident)
	naive := flag.Bool("naive", false, "show the failure alone")
	upstream := flag.String("upstream", "", "take messages from this `address`")
	listen := flag.String("listen", "127.0.0.1:4000", "serve the client on this `address`")
	dir := flag.String("dir", "relay.queue", "keep what the client has not acknowledged in this `directory`")
	size := flag.Int("size", relay.Size, "length of a message in bytes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case flag.NArg() > 0:
		usage("unexpected argument %q", flag.Arg(0))
	case *size <= 0:
		usage("a message of %d bytes", *size)
	case *naive && *upstream != "":
		usage("-naive tells the story, and takes no -upstream")
	case *upstream != "":
		err = serve(ctx, *upstream, *listen, *dir, *size)
	case *naive:
		var e incident.Evidence
		if e, err = relay.Incident.Naive(ctx, say); err == nil {
			say("%s", e.Summary)
		}
		if err == nil && !e.Confirmed {
			err = errors.New("the failure did not happen this time")
		}
	default:
		err = incident.Tell(ctx, relay.Incident)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

func usage(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "relay: "+format+"\n", args...)
	flag.Usage()
	os.Exit(2)
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// serve relays until it is interrupted or the upstream fails. What is left in the
// queue then is delivered by the next run.
func serve(interrupt context.Context, upstream, listen, dir string, size int) (err error) {
	q, err := outbox.Open(dir, outbox.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	say("listening on %v, %d messages are owed from before", ln.Addr(), q.Len())
	r := &relay.Relay{Queue: q, Message: size, Say: say}
	ctx, cancel := context.WithCancelCause(interrupt)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", upstream)
		if err == nil {
			say("taking messages from %v", conn.RemoteAddr())
			err = r.Take(ctx, conn)
		}
		if err != nil {
			cancel(err)
			return
		}
		say("the upstream has ended; %d messages are owed to the client", q.Len())
	})
	wg.Go(func() { r.Report(ctx, time.Second, say) })
	if err := r.Serve(ctx, ln); !errors.Is(err, context.Cause(interrupt)) {
		return err
	}
	return nil
}
