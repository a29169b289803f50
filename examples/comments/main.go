// SPDX-License-Identifier: MIT

// Command comments is a wiki's comment store, and what becomes of the first
// comments of a page when many are posted at once: it loads the store as it was
// first written, then the one that uses fsrace, and counts what is lost.
//
// Copy this when you keep files in directories that come and go with them:
// examples/internal/comments/fixed.go is the whole store.
//
//	comments                      run both stores under load and compare
//	comments -serve :8080 -dir D  serve the fixed store: PUT, GET, DELETE /page/id
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/comments"
	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

func main() {
	incident.Dispatch(comments.Incident)
	load := comments.Load{}
	flag.IntVar(&load.Clients, "clients", 16, "clients that post at once")
	flag.IntVar(&load.Rounds, "rounds", 500, "pages, one after the other")
	flag.DurationVar(&load.Time, "time", 5*time.Second, "at most, for each store")
	addr := flag.String("serve", "", "serve the fixed store at this `address` instead")
	dir := flag.String("dir", "comments", "directory of the served store")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *addr != "" {
		err = serve(ctx, *addr, *dir)
	} else {
		err = compare(ctx, load)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "comments:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, load comments.Load) error {
	for _, s := range []struct {
		name string
		open func(dir string) comments.Store
	}{
		{"naive", func(dir string) comments.Store { return comments.Naive{Dir: dir} }},
		{"fsrace", func(dir string) comments.Store { return comments.Fixed{Dir: dir} }},
	} {
		r, err := load.Run(ctx, s.open, func(format string, args ...any) {
			fmt.Printf("%-7s "+format+"\n", append([]any{s.name}, args...)...)
		})
		if err != nil {
			return err
		}
		if s.name == "fsrace" && r.Lost > 0 {
			return fmt.Errorf("%d comments lost: %s", r.Lost, r.FirstLoss)
		}
	}
	return nil
}

func serve(ctx context.Context, addr, dir string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("serving", dir, "at", ln.Addr())
	server := &http.Server{Handler: comments.Handler(comments.Fixed{Dir: dir}, dir), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}
