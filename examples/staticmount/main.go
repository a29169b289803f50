// SPDX-License-Identifier: MIT

// Staticmount serves a directory from an app that is mounted inside another, and shows
// what happens to its descriptors at /debug/fdguard. Each layer wraps the files it
// serves, as careful layers do.
//
// Copy this when files pass through several layers that all want to wrap them: a
// mounted app, a metrics middleware, a server's own sendfile wrapper.
//
//	staticmount                  tells the story: the leak, then the fix
//	staticmount -serve naive     serves the current directory and leaks
//	staticmount -serve fixed     serves it and does not
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/examples/internal/staticmount"
)

func main() {
	incident.Dispatch(staticmount.Incident)
	serve := flag.String("serve", "", "serve with `naive` or fixed wrapping until interrupted, instead of telling the story")
	addr := flag.String("addr", "127.0.0.1:8080", "where -serve listens")
	dir := flag.String("dir", ".", "what -serve serves below /static/")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := tell
	if *serve != "" {
		run = func(ctx context.Context) error { return serveUntil(ctx, *serve, *addr, *dir) }
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "staticmount:", err)
		os.Exit(1)
	}
}

func tell(ctx context.Context) error {
	for _, step := range []struct {
		name string
		run  incident.Step
	}{{"naive", staticmount.Incident.Naive}, {"fixed", staticmount.Incident.Fixed}} {
		evidence, err := step.run(ctx, func(format string, args ...any) {
			fmt.Printf("%s: %s\n", step.name, fmt.Sprintf(format, args...))
		})
		if err != nil {
			return err
		}
		fmt.Printf("%s: confirmed: %v: %s\n", step.name, evidence.Confirmed, evidence.Summary)
	}
	return nil
}

func serveUntil(ctx context.Context, how, addr, dir string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	db, err := staticmount.StartDatabase()
	if err != nil {
		return err
	}
	defer db.Close()
	fmt.Printf("http://%s/static/  http://%[1]s/report  http://%[1]s/debug/fdguard\n", l.Addr())
	return staticmount.Serve(ctx, l, how, dir, db.Addr().String())
}
