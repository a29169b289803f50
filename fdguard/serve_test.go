// SPDX-License-Identifier: MIT

package fdguard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A countingFile counts the uses of its descriptor for zero copy.
type countingFile struct {
	*File
	reads *int
}

func (c countingFile) SyscallConn() (syscall.RawConn, error) {
	rc, err := c.File.SyscallConn()
	return countingConn{rc, c.reads}, err
}

// WriteTo hides the File's, which would not come by SyscallConn above.
func (c countingFile) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct {
		io.Reader
		syscall.Conn
	}{c.File, c})
}

type countingConn struct {
	syscall.RawConn
	reads *int
}

func (c countingConn) Read(fn func(uintptr) bool) error { *c.reads++; return c.RawConn.Read(fn) }

func randomText(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz\n"[rand.IntN(27)]
	}
	return string(b)
}

// G10: http.ServeContent sends a guarded file by descriptor, once, be it the first
// handle or a clone; and where it may not, it copies.
func TestServeContentByDescriptor(t *testing.T) {
	t.Parallel()
	body := randomText(64 << 10)
	r, _ := newRegistry(t, Stacks)
	f := mustOpen(t, r, body)
	for name, f := range map[string]*File{"first handle": f, "clone": mustClone(t, f)} {
		for _, tc := range []struct {
			how, method string
			h2, opaque  bool
			want        int
		}{
			{"plain", "GET", false, false, 1},
			{"HEAD", "HEAD", false, false, 0},
			{"HTTP/2", "GET", true, false, 0},
			{"a middleware that rewrites", "GET", false, true, 0},
		} {
			reads := 0
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if tc.opaque {
					w = struct{ http.ResponseWriter }{w}
				}
				http.ServeContent(w, req, "x.txt", time.Time{}, countingFile{f, &reads})
			}))
			if tc.h2 {
				srv.EnableHTTP2 = true
				srv.StartTLS()
			} else {
				srv.Start()
			}
			req, _ := http.NewRequestWithContext(t.Context(), tc.method, srv.URL, nil)
			res, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			srv.Close()
			if err != nil || tc.method == "GET" && string(got) != body {
				t.Errorf("%s, %s: got %d bytes, %v", name, tc.how, len(got), err)
			}
			if reads != tc.want && zeroCopy {
				t.Errorf("%s, %s: sent by descriptor %d times, want %d", name, tc.how, reads, tc.want)
			}
		}
	}
}

// G11: many requests at once, each with its clone of one file.
func TestServeOneFileToMany(t *testing.T) {
	t.Parallel()
	body := randomText(2 << 20)
	sum := sha256.Sum256([]byte(body))
	r, leaks := newRegistry(t, Stacks)
	f := mustOpen(t, r, body)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		g, err := f.Clone()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer g.Close()
		http.ServeContent(w, req, "x.txt", time.Time{}, g)
	}))
	defer srv.Close()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
			want := sum
			if i%4 == 3 {
				req.Header.Set("Range", "bytes=1000-1999999")
				want = sha256.Sum256([]byte(body[1000:2000000]))
			}
			res, err := srv.Client().Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil || sha256.Sum256(got) != want {
				t.Errorf("request %d: wrong body of %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	if n := r.private.Load(); n > maxIdle {
		t.Errorf("%d private descriptions are kept, limit %d", n, maxIdle)
	}
	f.Close()
	if n := r.private.Load(); n != 0 {
		t.Errorf("%d private descriptions outlive the file", n)
	}
	noLeak(t, leaks)
}

// io.Copy takes the ways that it takes for an *os.File, and the bytes are right.
func TestCopies(t *testing.T) {
	t.Parallel()
	body := randomText(300_000)
	r, _ := newRegistry(t, Stacks)
	src := mustOpen(t, r, body)
	for name, f := range map[string]*File{"first handle": src, "clone": mustClone(t, src)} {
		var buf bytes.Buffer
		for to, w := range map[string]io.Writer{"buffer": &buf, "opaque": struct{ io.Writer }{&buf}} {
			buf.Reset()
			f.Seek(5, io.SeekStart)
			if n, err := io.Copy(w, f); n != int64(len(body)-5) || err != nil || buf.String() != body[5:] {
				t.Errorf("%s to %s: %d, %v", name, to, n, err)
			}
		}
		f.Seek(7, io.SeekStart)
		if n, err := io.CopyN(io.Discard, f, 100); n != 100 || err != nil {
			t.Error(n, err)
		}
		wantRead(t, f, body[107:])
		dst, err := r.open(t.TempDir()+"/dst", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Seek(0, io.SeekStart)
		if n, err := io.Copy(dst, f); n != int64(len(body)) || err != nil {
			t.Errorf("%s to a file: %d, %v", name, n, err)
		}
		dst.Seek(0, io.SeekStart)
		wantRead(t, dst, body)
		dst.Close()
	}
}

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
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
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
	rounds := 60
	if testing.Short() {
		rounds = 10
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
	for range 1000 { // the timed-out handlers end by themselves
		if r.table.handles.Load() == 0 && r.private.Load() == 0 {
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
