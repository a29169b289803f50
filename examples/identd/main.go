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
	"errors"
	"flag"
	"fmt"
	"io"
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
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "identd:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("identd", flag.ContinueOnError)
	flags.SetOutput(log)
	listen := flags.String("listen", "127.0.0.1:113", "`address` to answer on")
	establishedOnly := flags.Bool("established-only", false, "demand that a connection be ESTABLISHED, as it happened")
	hide := flags.String("hide", "", "answer HIDDEN-USER for these `users`, names or uids, separated by commas")
	idle := flags.Duration("idle", time.Minute, "how long a query may take to arrive")
	conns := flags.Int("conns", 64, "how many connections to serve at a time")
	story := flags.Bool("story", false, "tell the incident and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *story {
		return incident.Tell(ctx, identd.Incident)
	}

	server := identd.Server{Idle: *idle, Conns: *conns, Hidden: make(map[string]bool), Logger: slog.New(slog.NewTextHandler(log, nil))}
	if *establishedOnly {
		server.Lookup = identd.EstablishedOnly
	}
	for name := range strings.SplitSeq(*hide, ",") {
		server.Hidden[strings.TrimSpace(name)] = name != ""
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server.Logger.Info("identd: listening", "addr", l.Addr().String(), "established-only", *establishedOnly)
	return server.Serve(ctx, l)
}
