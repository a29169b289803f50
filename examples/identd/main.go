// SPDX-License-Identifier: MIT

// Identd is an RFC 1413 server: it tells the machine at the other end of a connection
// which local user owns this end.
//
// Copy this when a service has to know which user of this machine it is talking to,
// and the answer must not depend on what the client has already said or closed.
//
//	identd                              serve on 127.0.0.1:113 (a port for root)
//	identd -listen 127.0.0.1:1113       serve elsewhere
//	identd -established-only            serve as it happened: half-closed clients are NO-USER
//	identd -story                       tell the incident: both, with clients that half-close at once
//
// It answers on loopback only, unless told otherwise: who owns which connection is
// nobody's business on an open network.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/identd"
	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

func main() {
	incident.Dispatch(identd.Incident)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listen := flag.String("listen", "127.0.0.1:113", "`address` to answer on")
	establishedOnly := flag.Bool("established-only", false, "demand that a connection be ESTABLISHED, as it happened")
	hide := flag.String("hide", "", "answer HIDDEN-USER for these `users`, names or uids, separated by commas")
	idle := flag.Duration("idle", time.Minute, "how long a query may take to arrive")
	conns := flag.Int("conns", 64, "how many connections to serve at a time")
	story := flag.Bool("story", false, "tell the incident and exit")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		usage("unexpected argument %q", flag.Arg(0))
	case *idle <= 0 || *conns <= 0:
		usage("-idle %v, -conns %d: both have to be positive", *idle, *conns)
	}

	var err error
	if *story {
		err = incident.Tell(ctx, identd.Incident)
	} else {
		server := identd.Server{Idle: *idle, Conns: *conns, Hidden: make(map[string]bool)}
		if *establishedOnly {
			server.Lookup = identd.EstablishedOnly
		}
		for name := range strings.SplitSeq(*hide, ",") {
			server.Hidden[strings.TrimSpace(name)] = name != ""
		}
		err = serve(ctx, *listen, &server)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "identd:", err)
		os.Exit(1)
	}
}

func usage(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "identd: "+format+"\n", args...)
	flag.Usage()
	os.Exit(2)
}

func serve(ctx context.Context, addr string, server *identd.Server) error {
	server.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server.Logger.Info("identd: listening", "addr", l.Addr().String(), "established-only", server.Lookup != nil)
	return server.Serve(ctx, l)
}
