// SPDX-License-Identifier: MIT

package fdguard

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

// -soak sets how long TestSoak takes; its long form is 200, or more.
var soakRounds = flag.Int("soak", 20, "rounds of each client of TestSoak")

// Soak: handlers that wrap twice, panic, hijack and time out, and clients that
// abort, leave nothing behind.
func TestSoak(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"open", "wrap"} {
		t.Run(mode, func(t *testing.T) { soak(t, mode) })
	}
}

func soak(t *testing.T, mode string) {
	body := randomText(256 << 10)
	name := writeTemp(t, body)
	r, leaks := newRegistry(t, Stacks)
	open := func() (*File, error) {
		if mode == "open" {
			return r.open(name, os.O_RDONLY, 0)
		}
		o, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		return r.wrap(o)
	}
	files := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f, err := open()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer f.Close()
		inner, err1 := r.wrap(struct{ *File }{f}) // the mounted application
		outer, err2 := r.wrap(inner)              // the one it is mounted in
		if err := errors.Join(err1, err2); err != nil || outer != f {
			t.Errorf("wrapping: %v", err)
		}
		switch req.URL.Path {
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/hijack":
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", len(body))
			_, _ = io.Copy(c, outer)
		case "/slow":
			<-req.Context().Done()
		case "/clone":
			g, err := outer.Clone()
			if err != nil {
				t.Error(err)
				return
			}
			defer g.Close()
			outer.Close()
			http.ServeContent(w, req, "x.txt", time.Time{}, g)
		default:
			http.ServeContent(w, req, "x.txt", time.Time{}, outer)
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/", files)
	mux.Handle("/slow", http.TimeoutHandler(files, 5*time.Millisecond, "too slow"))
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.ErrorLog = nil
	srv.Start()
	transport := srv.Client().Transport.(*http.Transport)
	rounds := *soakRounds
	if testing.Short() {
		rounds = min(rounds, 10)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range rounds {
				for _, path := range []string{"/", "/panic", "/hijack", "/slow", "/clone", "/abort"} {
					ctx, cancel := context.WithCancel(t.Context())
					req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+path, nil)
					res, err := srv.Client().Do(req)
					if err == nil {
						if path == "/abort" {
							_, _ = io.ReadFull(res.Body, make([]byte, 1000))
							cancel()
						}
						got, err := io.ReadAll(res.Body)
						if (path == "/" || path == "/hijack" || path == "/clone") && (err != nil || string(got) != body) {
							t.Errorf("%s: %d bytes, %v", path, len(got), err)
						}
						res.Body.Close()
					} else if path != "/panic" {
						t.Errorf("%s: %v", path, err)
					}
					cancel()
				}
			}
		})
	}
	wg.Wait()
	transport.CloseIdleConnections()
	srv.Close()
	for range 4000 { // the timed-out handlers end by themselves
		if tableHandles(r) == 0 && r.private.Load() == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if rows := r.handles(); len(rows) != 0 || r.private.Load() != 0 {
		t.Errorf("left behind: %d handles, %d private descriptions", len(rows), r.private.Load())
	}
	noLeak(t, leaks)
}

func init() { roles["mounted"] = roleMounted }

// G3: an application mounted inside another wraps twice and closes once, for
// 2,000 requests under a limit of 256 descriptors.
func TestMountedReplay(t *testing.T) {
	t.Parallel()
	if !zeroCopy {
		t.Skip("needs RLIMIT_NOFILE")
	}
	runRole(t, "mounted")
}

func roleMounted() error {
	if err := setLimit(256); err != nil {
		return err
	}
	tmp, err := os.CreateTemp("", "fdguard")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.WriteString("hello"); err != nil {
		return err
	}
	tmp.Close()
	h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		o, err := os.Open(tmp.Name())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		inner, _ := Wrap(o)
		outer, err := Wrap(struct{ *File }{inner})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer outer.Close()
		http.ServeContent(w, req, "x", time.Time{}, outer)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.StripPrefix("/mnt", h)}
	go srv.Serve(l)
	defer srv.Close()
	get := func() error {
		res, err := http.Get("http://" + l.Addr().String() + "/mnt/x")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "hello" {
			return fmt.Errorf("got %s %.100q, %v", res.Status, body, err)
		}
		return nil
	}
	if err := get(); err != nil {
		return err
	}
	before := Snapshot()
	for range 2000 {
		if err := get(); err != nil {
			return err
		}
	}
	if after := Snapshot(); after.ProcessOpen > before.ProcessOpen+2 || after.Tracked > 1 {
		return fmt.Errorf("grew from %d to %d descriptors, %d tracked", before.ProcessOpen, after.ProcessOpen, after.Tracked)
	}
	return nil
}
