// SPDX-License-Identifier: MIT

package opencache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b08dbae9/sysprim/fdguard"
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
	dir := newDir(t, map[string]string{"64k": strings.Repeat("0123456789abcdef", 4096)})
	theirs := straced(t, "serve20", "http.Dir", "4", dir)["sendfile"]
	ours := straced(t, "serve20", "cache, wrapped", "4", dir)["sendfile"]
	if theirs < 20 || ours < 20 || ours > 2*theirs { // a busy kernel takes a reply in two pieces
		t.Errorf("20 replies of 64 KiB: %d sendfile calls, with http.Dir %d", ours, theirs)
	}
}

// What 20 requests in a row for one file cost in system calls, beside the socket's.
func TestSystemCallsOfARequest(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"64k": strings.Repeat("0123456789abcdef", 4096)})
	got := straced(t, "serve20", "cache", "1", dir)
	// The first request opens, and reads for the head and as net/http does; from the
	// second on the file is sent from a description that was opened for that.
	if n := got["64k"]; n != 2 { // once by the test itself
		t.Errorf("opened %d times by name", n)
	}
	if n := got["pread of 512"]; n != 3 {
		t.Errorf("%d preads, want those of the first request alone", n)
	}
	if n := got["lseek"]; n > 2*20 {
		t.Errorf("%d lseeks, want two for each sendfile", n)
	}
	if n := got["sendfile"]; n < 20 { // and more, if the client is slow to read
		t.Errorf("%d sendfiles, want 20", n)
	}
}

// straced runs a helper and counts its system calls by name, and those that open by the
// last part of what they open.
func straced(t *testing.T, name string, args ...string) map[string]int {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := helper(name, args...)
	cmd.Args = append([]string{strace, "-f", "-qq", "-e", "trace=/sendfile,openat,pread64,lseek", "-o", trace}, cmd.Args...)
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
	// An interrupted line has no result; the rest of the call follows, without the
	// arguments.
	result := regexp.MustCompile(`^\d+ +(?:<\.\.\. )?([a-z]+).* = (-?\d+)`)
	opened := regexp.MustCompile(`^\d+ +openat.*?"(?:[^"]*/)?([^"/]+)"`)
	calls := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if m := opened.FindStringSubmatch(line); m != nil {
			calls[m[1]]++
		}
		switch m := result.FindStringSubmatch(line); {
		case m == nil:
		case m[1] == "pread": // of which the runtime has others
			calls["pread of "+m[2]]++
		case m[1] == "lseek" || m[2] != "0" && m[2] != "-1":
			calls[m[1]]++
		}
	}
	return calls
}

func init() {
	helpers["serve20"] = func(args []string) error {
		impl, dir := args[0], args[2]
		clients, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		var fsys http.FileSystem = http.Dir(dir)
		if strings.HasPrefix(impl, "cache") {
			c, err := New(dir, Config{Valid: time.Hour})
			if err != nil {
				return err
			}
			defer c.Close()
			c.sys.rest = 0
			fsys = c.FileSystem()
		}
		if strings.HasSuffix(impl, "wrapped") {
			fsys = wrapsAgain{fsys}
		}
		want, err := os.ReadFile(filepath.Join(dir, "64k"))
		if err != nil {
			return err
		}
		base, stop, err := listenAndServe(http.FileServer(fsys))
		if err != nil {
			return err
		}
		defer stop()
		errs := make(chan error, clients)
		for range clients {
			go func() {
				for range 20 / clients {
					_, body, err := get(http.DefaultClient, base+"/64k")
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

// Whoever closes a descriptor of the cache by its number, by mistake, costs it a file,
// and no more: it is opened again, though Valid is long.
func TestDescriptorClosedByAStranger(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"Open", "FileSystem"} {
		runHelper(t, "stranger", newDir(t, map[string]string{"a": "text", "b": "stranger"}), way)
	}
}

func init() {
	helpers["stranger"] = func(args []string) error {
		c, err := New(args[0], Config{Valid: time.Hour})
		if err != nil {
			return err
		}
		defer c.Close()
		f, err := c.Open("a")
		if err != nil {
			return err
		}
		var number uintptr
		if err := f.Do(func(fd uintptr) error { number = fd; return nil }); err != nil {
			return err
		}
		f.Close()
		for range 2 { // kept, and with an idle clone
			f, err := c.FileSystem().Open("a")
			if err != nil {
				return err
			}
			f.Close()
		}
		unix.Close(int(number))
		victim, err := fdguard.Open(filepath.Join(args[0], "b"))
		if err != nil {
			return err
		}
		defer victim.Close()
		if err := victim.Do(func(fd uintptr) error { return check(fd == number, "it is another number") }); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() {
			if args[1] == "Open" {
				got, err := content(c, "a")
				done <- errors.Join(err, check(got == "text", "read "+got))
				return
			}
			rec := make([]int, 2)
			for i := range rec {
				w := httptest.NewRecorder()
				http.FileServer(c.FileSystem()).ServeHTTP(w, httptest.NewRequest("GET", "/a", nil))
				rec[i] = w.Code
			}
			done <- check(rec[1] == http.StatusOK, fmt.Sprint(rec))
		}()
		select {
		case err := <-done:
			if err != nil {
				return err
			}
		case <-time.After(10 * time.Second):
			return errors.New("hangs")
		}
		text, err := io.ReadAll(victim)
		return errors.Join(err, check(string(text) == "stranger", "the victim lost its descriptor"))
	}
}

func check(ok bool, otherwise string) error {
	if ok {
		return nil
	}
	return errors.New(otherwise)
}
