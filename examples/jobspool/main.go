// SPDX-License-Identifier: MIT

// Jobspool is a pipeline of processes that share spools: messages come in over TCP
// and are stored as XML, converters turn the XML into JSON, submitters hand the JSON
// to a cluster. Any number of each may run, on any number of hosts.
//
// Copy this when several processes work off one directory, and you want to know
// which of them has taken what.
//
//	jobspool                                        the story, failure and fix
//	jobspool receive [-listen ADDR] DIR             takes messages
//	jobspool convert DIR                            XML to JSON
//	jobspool submit [-cluster DIRECTORY] DIR        JSON to the cluster; without one, gives jobs back
//	jobspool status DIR                             who has the spools open, who holds what
//	jobspool evict [-host HOST] DIR                 after a power failure: frees what HOST's earlier boots held
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/examples/internal/jobspool"
)

func main() {
	incident.Dispatch(jobspool.Incident)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "jobspool:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return incident.Tell(ctx, jobspool.Incident)
	}
	command, args := args[0], args[1:]
	flags := flag.NewFlagSet("jobspool "+command, flag.ExitOnError)
	host, _ := os.Hostname()
	label := flags.String("label", command+" on "+host, "what this instance calls itself")
	listen := flags.String("listen", "127.0.0.1:0", "receive: `address` to listen at")
	to := flags.String("cluster", "", "submit: `directory` that stands for the cluster")
	of := flags.String("host", host, "evict: `name` of the host that was booted again, or is gone for good")
	flags.Parse(args)
	dir := flags.Arg(0)
	if dir == "" {
		return fmt.Errorf("%s needs the directory of the spools", command)
	}
	switch command {
	case "receive":
		return jobspool.Receive(ctx, dir, *label, *listen)
	case "convert":
		return jobspool.Convert(ctx, dir, *label)
	case "submit":
		return jobspool.Submit(ctx, dir, *label, *to)
	case "status":
		return jobspool.Status(os.Stdout, dir)
	case "evict":
		return jobspool.Evict(os.Stdout, dir, *of)
	}
	return fmt.Errorf("unknown command %q", command)
}
