// SPDX-License-Identifier: MIT

package comments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

// Incident is the second of the incidents: two first comments at once.
var Incident = &incident.Incident{
	Name:    "comments",
	Title:   "two first comments at once: one is lost",
	Package: "fsrace",
	Naive: func(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
		// Rounds go on until a comment is lost: it is a race, and most often a matter
		// of some tenths of a second.
		load := Load{Clients: 16, Rounds: 20_000, Time: 20 * time.Second, UntilLost: true}
		r, err := load.Run(ctx, func(dir string) Store { return Naive{dir} }, progress)
		return evidence(r, r.Lost > 0), err
	},
	Fixed: func(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
		load := Load{Clients: 16, Rounds: 2000, Time: 2 * time.Second}
		r, err := load.Run(ctx, func(dir string) Store { return Fixed{dir} }, progress)
		return evidence(r, r.Lost == 0 && r.Posted > 0 && r.Pruned > 0), err
	},
}

func evidence(r Result, confirmed bool) incident.Evidence {
	return incident.Evidence{
		Confirmed: confirmed,
		Summary:   fmt.Sprintf("%d comments posted, %d lost; pruned %d times meanwhile", r.Posted, r.Lost, r.Pruned),
		Facts:     map[string]any{"posted": r.Posted, "lost": r.Lost, "pruned": r.Pruned, "first_loss": r.FirstLoss},
	}
}

// A Load is a number of clients that post the first comments of pages.
type Load struct {
	Clients   int           // who post at once
	Rounds    int           // each on a new page, at most
	Time      time.Duration // for all rounds, at most
	UntilLost bool          // stop at the first comment that is lost
}

// A Result counts comments. Lost are those that the server refused, and those that
// it took and that are not there afterwards.
type Result struct {
	Posted, Lost, Pruned int
	FirstLoss            string
}

// Run serves a new store over HTTP on a loopback address and a temporary directory,
// puts the load on it while a pruner removes empty pages, and counts.
func (l Load) Run(ctx context.Context, open func(dir string) Store, progress incident.Progress) (r Result, err error) {
	dir, err := os.MkdirTemp("", "comments-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	store := open(dir)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	server := &http.Server{Handler: Handler(store, dir)}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ln) })
	defer serving.Wait()
	defer server.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: l.Clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}

	var pruned atomic.Int64
	var pruning sync.WaitGroup
	stop := make(chan struct{})
	pruning.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if store.Prune() == nil {
				pruned.Add(1)
			}
			time.Sleep(time.Millisecond)
		}
	})
	defer func() {
		close(stop)
		pruning.Wait()
		r.Pruned = int(pruned.Load())
	}()

	end := time.Now().Add(l.Time)
	for round := range l.Rounds {
		if err := context.Cause(ctx); err != nil {
			return r, err
		}
		if time.Now().After(end) {
			break
		}
		page := fmt.Sprintf("wiki/%d/a/b/page", round)
		losses := l.round(ctx, client, ln.Addr().String(), dir, page)
		r.Posted += l.Clients
		r.Lost += len(losses)
		if len(losses) > 0 && r.FirstLoss == "" {
			r.FirstLoss = losses[0]
			progress("lost in round %d: %s", round+1, r.FirstLoss)
		}
		if r.Lost > 0 && l.UntilLost {
			break
		}
	}
	progress("%d comments posted, %d lost", r.Posted, r.Lost)
	return r, nil
}

// round posts the first comments of a page, all at once, and then removes them.
func (l Load) round(ctx context.Context, client *http.Client, addr, dir, page string) (losses []string) {
	var mu sync.Mutex
	var clients sync.WaitGroup
	start := make(chan struct{})
	for i := range l.Clients {
		clients.Go(func() {
			<-start
			name := fmt.Sprintf("%s/%d", page, i)
			err := do(ctx, client, http.MethodPut, "http://"+addr+"/"+name)
			if err == nil {
				_, err = os.Stat(filepath.Join(dir, name))
			}
			if err != nil {
				mu.Lock()
				losses = append(losses, err.Error())
				mu.Unlock()
				return
			}
			if err := do(ctx, client, http.MethodDelete, "http://"+addr+"/"+name); err != nil {
				mu.Lock()
				losses = append(losses, err.Error())
				mu.Unlock()
			}
		})
	}
	close(start)
	clients.Wait()
	return losses
}

func do(ctx context.Context, client *http.Client, method, url string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("a comment"))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if err == nil && resp.StatusCode/100 != 2 {
		err = errors.New(strings.TrimSpace(string(body)))
	}
	return err
}
