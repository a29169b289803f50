// SPDX-License-Identifier: MIT

package staticmount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

const (
	limit    = 256  // descriptors the server may have
	requests = 2000 // of the same file
	asset    = "style.css"
	patience = 2 * time.Second // of a client that connects
)

// Incident is the story for examples/tour.
var Incident = &incident.Incident{
	Name:    processes.Name,
	Title:   "a mounted static app leaks a descriptor per file",
	Package: "fdguard",
	Naive:   naive,
	Fixed:   fixed,
	Roles:   processes.Roles,
}

// processes is what the steps need of the Incident, which refers to them.
var processes = incident.Incident{
	Name:  "staticmount",
	Roles: map[string]func([]string) int{"server": serve},
}

func naive(ctx context.Context, p incident.Progress) (incident.Evidence, error) {
	seen, err := run(ctx, p, "naive")
	if err != nil {
		return incident.Evidence{}, err
	}
	return incident.Evidence{
		Confirmed: seen.victim == "database" && strings.Contains(seen.err, "too many open files") &&
			seen.newcomer != "" && seen.top.Name == asset && seen.top.Handles >= seen.served,
		Summary: fmt.Sprintf("after %d files the database cannot dial; %s is open %d times",
			seen.served, seen.top.Name, seen.top.Handles),
		Facts: seen.facts(),
	}, nil
}

func fixed(ctx context.Context, p incident.Progress) (incident.Evidence, error) {
	seen, err := run(ctx, p, "fixed")
	if err != nil {
		return incident.Evidence{}, err
	}
	return incident.Evidence{
		Confirmed: seen.victim == "" && seen.newcomer == "" && seen.served == requests && seen.after <= seen.before,
		Summary: fmt.Sprintf("%d files served, no error; %d descriptors before, %d after",
			seen.served, seen.before, seen.after),
		Facts: seen.facts(),
	}, nil
}

// seen is what a client of the server saw.
type seen struct {
	served        int    // static files, before anything failed
	victim, err   string // what failed first, and how
	newcomer      string // why a client that connects after that gets no answer
	before, after int    // descriptors of the server, by /debug/fdguard
	top           group  // what most of them are
}

func (s *seen) facts() map[string]any {
	return map[string]any{
		"served": s.served, "limit": limit, "victim": s.victim, "error": s.err, "new_client": s.newcomer,
		"descriptors_before": s.before, "descriptors_after": s.after,
		"top_name": s.top.Name, "top_open": s.top.Handles,
	}
}

// run serves the file again and again over one kept-alive connection, with a page
// that needs the database after each, and stops at the first thing that fails.
func run(ctx context.Context, progress incident.Progress, how string) (*seen, error) {
	if runtime.GOOS == "windows" {
		return nil, fmt.Errorf("a limit on descriptors: %w", errors.ErrUnsupported)
	}
	dir, err := os.MkdirTemp("", "staticmount")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	css := strings.Repeat("body { color: teal }\n", 400)
	if err := os.WriteFile(filepath.Join(dir, asset), []byte(css), 0o644); err != nil {
		return nil, err
	}
	db, err := StartDatabase()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	base, stop, err := startServer(how, dir, db.Addr().String())
	if err != nil {
		return nil, err
	}
	defer stop()

	client := newClient(base)
	defer client.http.CloseIdleConnections()
	var s seen
	// The first page opens what is opened once: the connection, the poller.
	if _, err := client.get(ctx, "/static/"+asset); err != nil {
		return nil, err
	}
	first, err := client.report(ctx)
	if err != nil {
		return nil, err
	}
	s.before = first.ProcessOpen
	progress("server has %d descriptors open, limit %d", s.before, limit)
	for s.served < requests && s.victim == "" {
		if body, err := client.get(ctx, "/static/"+asset); err != nil {
			s.victim, s.err = "static file", err.Error()
		} else if body != css {
			s.victim, s.err = "static file", "wrong content"
		} else {
			s.served++
			if _, err := client.get(ctx, "/report"); err != nil {
				s.victim, s.err = "database", err.Error()
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if s.served%500 == 0 {
			progress("%d files served", s.served)
		}
	}
	if s.victim != "" {
		progress("after %d files the %s fails first: %s", s.served, s.victim, s.err)
	}
	last, err := client.report(ctx)
	if err != nil {
		return nil, err
	}
	s.after = last.ProcessOpen
	if len(last.ByName) > 0 {
		s.top = last.ByName[0]
		s.top.Name = filepath.Base(s.top.Name)
		progress("/debug/fdguard: %s open %d times; headroom %d", s.top.Name, s.top.Handles, last.Headroom)
	}
	// The listener is the next victim. It has no one to tell: whoever connects waits.
	newcomer := newClient(base)
	defer newcomer.http.CloseIdleConnections()
	newcomer.http.Timeout = patience
	if s.victim == "" { // it will get its answer, be the machine as busy as it may
		newcomer.http.Timeout = 10 * patience
	}
	if _, err := newcomer.get(ctx, "/static/"+asset); err != nil {
		s.newcomer = err.Error()
		progress("a new client gets no answer for %v, nor does it get a refusal", patience)
	}
	return &s, nil
}

// startServer starts the role and waits for its address.
func startServer(how, dir, dbAddr string) (base string, stop func(), err error) {
	cmd := processes.Command("server", how, strconv.Itoa(limit), dir, dbAddr)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		stdin.Close()
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("server did not start: %w", err)
	}
	return "http://" + strings.TrimSpace(line), stop, nil
}
