// SPDX-License-Identifier: MIT

// Lsremote shows the incident that execsafe grew from: a program that runs
// git ls-remote, waits for it, and then reads its output, hangs for good on the
// day the listing outgrows the 64 KiB of a pipe.
//
// Copy List of examples/internal/lsremote when you run a command and want what it
// printed.
//
//	go run ./examples/lsremote                # the story, failure and fix
//	go run ./examples/lsremote REPOSITORY     # list a repository of yours
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/examples/internal/lsremote"
)

func main() {
	flag.Usage = func() { fmt.Fprintln(flag.CommandLine.Output(), "usage: lsremote [REPOSITORY]") }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "lsremote:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch len(args) {
	case 0:
		return incident.Tell(ctx, lsremote.Incident)
	case 1:
		out, err := lsremote.List(ctx, args[0])
		os.Stdout.Write(out)
		return err
	default:
		flag.Usage()
		return fmt.Errorf("%d arguments, want at most one repository", len(args))
	}
}
