// SPDX-License-Identifier: MIT

package opencache

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openBelow counts this process's descriptors of files below dir.
func openBelow(dir string) (n int) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	for _, fd := range fds {
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(name, dir+"/") {
			n++
		}
	}
	return n
}

// Through the cache as through http.Dir, a body goes out by sendfile(2), also when
// several clients ask at once and with a wrapper around it that hides nothing.
func TestSendfileIsKept(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	dir := newDir(t, map[string]string{"64k.bin": strings.Repeat("0123456789abcdef", 4096)})
	count := func(impl string) (calls int) {
		trace := filepath.Join(t.TempDir(), "trace")
		cmd := helper("serve20", impl, dir)
		cmd.Args = append([]string{strace, "-f", "-qq", "-e", "trace=/sendfile", "-o", trace}, cmd.Args...)
		cmd.Path = strace
		if out, err := cmd.CombinedOutput(); err != nil {
			if bytes.Contains(out, []byte("ptrace")) {
				t.Skipf("needs ptrace: %s", out)
			}
			t.Fatalf("%v\n%s", err, out)
		}
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			// Interrupted lines have no result; the rest of the call follows.
			if strings.Contains(line, "sendfile") && strings.Contains(line, "= ") && !strings.Contains(line, "= -1") && !strings.HasSuffix(line, "= 0\n") {
				calls++
			}
		}
		return calls
	}
	theirs, ours := count("http.Dir"), count("cache")
	if theirs < 20 || ours < 20 || ours > 2*theirs { // a busy kernel takes a reply in two pieces
		t.Errorf("20 replies of 64 KiB: %d sendfile calls, with http.Dir %d", ours, theirs)
	}
}

func init() {
	helpers["serve20"] = func(args []string) error {
		var fsys http.FileSystem = http.Dir(args[1])
		if args[0] == "cache" {
			c, err := New(args[1], Config{})
			if err != nil {
				return err
			}
			defer c.Close()
			fsys = wrapsAgain{c.FileSystem()}
		}
		want, err := os.ReadFile(filepath.Join(args[1], "64k.bin"))
		if err != nil {
			return err
		}
		base, stop, err := listenAndServe(http.FileServer(fsys))
		if err != nil {
			return err
		}
		defer stop()
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() {
				for range 5 {
					_, body, err := get(http.DefaultClient, base+"/64k.bin")
					if err == nil && sha256.Sum256(body) != sha256.Sum256(want) {
						err = fmt.Errorf("wrong body of %d bytes", len(body))
					}
					if err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				return err
			}
		}
		return nil
	}
}

// The story: 2,000 requests for files that are wrapped twice more and closed once,
// with 256 descriptors.
func TestDoubleWrappedRequestsUnderASmallLimit(t *testing.T) {
	t.Parallel()
	runHelper(t, "wrapped2000", manyFiles(t, 100))
}

func init() {
	helpers["wrapped2000"] = func(args []string) error {
		if err := setLimit(256); err != nil {
			return err
		}
		c, err := New(args[0], Config{})
		if err != nil {
			return err
		}
		base, stop, err := listenAndServe(http.FileServer(wrapsAgain{wrapsAgain{c.FileSystem()}}))
		if err != nil {
			return err
		}
		defer stop()
		var first int
		for i := range 2000 {
			res, body, err := get(http.DefaultClient, fmt.Sprintf("%s/%03d.txt", base, i%100))
			if err != nil || string(body) != fmt.Sprint("file ", i%100) {
				return fmt.Errorf("request %d: %v %q %w", i, res, body, err)
			}
			_, open, _ := descriptors()
			for range 1000 { // the handler ends after its client has the reply
				if i <= 100 || open <= first {
					break
				}
				time.Sleep(10 * time.Millisecond)
				_, open, _ = descriptors()
			}
			if i == 100 {
				first = open
			}
			if i > 100 && open > first {
				return fmt.Errorf("request %d: %d descriptors, %d after the first 100", i, open, first)
			}
		}
		if err := c.Close(); err != nil {
			return err
		}
		if n := openBelow(args[0]); n != 0 {
			return fmt.Errorf("%d files open after Close", n)
		}
		return nil
	}
}

// Sending one file to several clients opens descriptors that no miss ever counts. What
// they take of the reserve is given back although all further Opens are hits.
func TestHitsLeaveTheReserve(t *testing.T) {
	t.Parallel()
	runHelper(t, "sends", manyFiles(t, 60))
}

func init() {
	helpers["sends"] = func(args []string) error {
		if err := setLimit(256); err != nil {
			return err
		}
		c, err := New(args[0], Config{Valid: time.Hour})
		if err != nil {
			return err
		}
		fsys := c.FileSystem()
		for _, atOnce := range []int{1, 4} { // at first all are opened, then all are hits
			for i := range 60 {
				if err := sendAtOnce(fsys, fmt.Sprintf("/%03d.txt", i), atOnce); err != nil {
					return err
				}
			}
		}
		if _, open, _ := descriptors(); open <= 192 {
			return fmt.Errorf("%d of 256 open: the test takes nothing of the reserve", open)
		}
		misses := c.Stats().Misses
		for deadline := time.Now().Add(10 * time.Second); ; {
			f, err := fsys.Open("/059.txt") // the one used last, and so given up last
			if err != nil {
				return err
			}
			f.Close()
			_, open, _ := descriptors()
			if open <= 192 {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d of 256 open, though a quarter is the reserve", open)
			}
		}
		if s := c.Stats(); s.Misses != misses || s.Kept == 0 {
			return fmt.Errorf("not by hits, or gave up everything: %+v", s)
		}
		return c.Close()
	}
}

// sendAtOnce holds the private descriptors of n handles on one file at the same time.
func sendAtOnce(fsys http.FileSystem, name string, n int) error {
	if n == 0 {
		return nil
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	conn, ok := f.(syscall.Conn)
	if !ok {
		return fmt.Errorf("%T has no SyscallConn", f)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	// The error is that of reopening, when no descriptor is left: net copies then.
	_ = raw.Read(func(uintptr) bool {
		err = sendAtOnce(fsys, name, n-1)
		return true
	})
	return err
}

// A descriptor of the cache is not inherited, neither a kept one nor one to send from.
func TestChildrenInheritNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a.bin": strings.Repeat("x", 1<<16)})
	c := open(t, dir, Config{})
	srv := server(t, c.FileSystem())
	if _, _, err := get(srv.Client(), srv.URL+"/a.bin"); err != nil {
		t.Fatal(err)
	}
	if out := runHelper(t, "inherited", dir); out != "0\n" {
		t.Errorf("a child has %s of our files open", out)
	}
}

func init() {
	helpers["inherited"] = func(args []string) error {
		fmt.Println(openBelow(args[0]))
		return nil
	}
}
