// SPDX-License-Identifier: MIT

// Tour runs the incidents that sysprim grew from, on this machine: each one first
// the way it happened, then with sysprim, with the evidence measured for both.
//
//	go run ./examples/tour                # all
//	go run ./examples/tour -run lsremote  # one, or several with commas between
//	go run ./examples/tour -json          # for programs
//
// The exit status is 1 if a failure did not reproduce or a fix did not hold, and 2
// if the command line is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

func main() {
	incident.Dispatch(incidents...)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(tour(ctx, os.Args[1:], incidents, os.Stdout, os.Stderr))
}

// tour is the program: it returns the exit status.
func tour(ctx context.Context, args []string, all []*incident.Incident, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("tour", flag.ContinueOnError)
	flags.SetOutput(stderr)
	names := flags.String("run", "", "only these incidents, by `name`, with commas between")
	asJSON := flags.Bool("json", false, "print one JSON array instead of a table")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	chosen, err := choose(all, *names)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(stderr, "tour:", err)
		return 2
	}
	if err := (incident.Tour{Out: stdout, Live: stderr, JSON: *asJSON}).Run(ctx, chosen...); err != nil {
		fmt.Fprintln(stderr, "tour:", err)
		return 1
	}
	return 0
}

// choose returns the incidents called names, or all of them.
func choose(all []*incident.Incident, names string) ([]*incident.Incident, error) {
	if names == "" {
		return all, nil
	}
	var chosen []*incident.Incident
next:
	for name := range strings.SplitSeq(names, ",") {
		for _, inc := range all {
			if inc.Name == strings.TrimSpace(name) {
				chosen = append(chosen, inc)
				continue next
			}
		}
		known := make([]string, len(all))
		for i, inc := range all {
			known[i] = inc.Name
		}
		return nil, fmt.Errorf("no incident is called %q; there are %s", name, strings.Join(known, ", "))
	}
	return chosen, nil
}
