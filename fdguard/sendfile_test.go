// SPDX-License-Identifier: MIT

package fdguard

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func init() { roles["serve"] = roleServe }

// TestSendfileCalls counts the kernel's view: as many sendfile(2) calls as http.Dir.
func TestSendfileCalls(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	name := writeTemp(t, randomText(64<<10))
	calls := func(how string) int {
		trace := filepath.Join(t.TempDir(), "trace")
		cmd := exec.CommandContext(t.Context(), strace, "-f", "-qq", "-e", "trace=/sendfile" /* sendfile64 on 32 bits */, "-o", trace, os.Args[0])
		cmd.Env = append(os.Environ(), roleEnv+"=serve", "FDGUARD_TEST_FILE="+name, "FDGUARD_TEST_HOW="+how)
		if out, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(string(out), "ptrace") || strings.Contains(string(out), "PTRACE") {
				t.Skipf("strace: %v: %s", err, out)
			}
			t.Fatalf("%s: %v\n%s", how, err, out)
		}
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "= 6") // those that sent most of the 64 KiB
	}
	want := calls("dir")
	for _, how := range []string{"guard", "wrap", "clone"} {
		if got := calls(how); got != want || want != 10 {
			t.Errorf("%s: %d sendfile calls for 10 requests, http.Dir makes %d", how, got, want)
		}
	}
}

func roleServe() error {
	name, how := os.Getenv("FDGUARD_TEST_FILE"), os.Getenv("FDGUARD_TEST_HOW")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: serveBy(how, name)}
	go srv.Serve(l)
	defer srv.Close()
	for range 10 {
		res, err := http.Get("http://" + l.Addr().String() + "/" + url.PathEscape(filepath.Base(name)))
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if n != 64<<10 || err != nil {
			return fmt.Errorf("%s: %d bytes, %v", res.Status, n, err)
		}
	}
	return nil
}

type guardedDir string

func (d guardedDir) Open(name string) (http.File, error) {
	return Open(filepath.Join(string(d), filepath.FromSlash(name)))
}

// wrappedDir opens as http.Dir does, and wraps.
type wrappedDir string

func (d wrappedDir) Open(name string) (http.File, error) {
	f, err := os.Open(filepath.Join(string(d), filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	return Wrap(f)
}

// serveBy serves the file's directory with http.Dir or through the guard, or the
// file alone from clones.
func serveBy(how, name string) http.Handler {
	switch how {
	case "dir":
		return http.FileServer(http.Dir(filepath.Dir(name)))
	case "guard":
		return http.FileServer(guardedDir(filepath.Dir(name)))
	case "wrap":
		return http.FileServer(wrappedDir(filepath.Dir(name)))
	}
	var f *File
	var err error
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if f == nil {
			if f, err = Open(name); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		g, err := f.Clone()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer g.Close()
		http.ServeContent(w, req, name, time.Time{}, g)
	})
}
