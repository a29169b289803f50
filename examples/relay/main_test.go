// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
	"go.uber.org/goleak"
)

const mainEnv = "RELAY_TEST_MAIN" // set in a child that is to be the program

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// program returns the program, to be started.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), mainEnv+"=1")
	return cmd
}

// A running program, and what it prints.
type running struct {
	*exec.Cmd
	t     *testing.T
	lines chan string // of its standard output; closed at its end
	said  []string    // those read so far
	error strings.Builder
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{Cmd: program(t, args...), t: t, lines: make(chan string, 1000)}
	r.Stderr = &r.error
	out, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Process.Kill()
		for range r.lines {
		}
		r.Wait()
	})
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	return r
}

// waitFor returns what the pattern matches in the next line that it matches.
func (r *running) waitFor(pattern string) []string {
	r.t.Helper()
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				r.t.Fatalf("it ended before it said %q: %q, %q", pattern, r.said, r.error.String())
			}
			r.said = append(r.said, line)
			if m := regexp.MustCompile(pattern).FindStringSubmatch(line); m != nil {
				return m
			}
		case <-time.After(20 * time.Second):
			r.t.Fatalf("it did not say %q: %q, %q", pattern, r.said, r.error.String())
		}
	}
}

// end waits for the program's end, and returns its exit status.
func (r *running) end() int {
	r.t.Helper()
	for line := range r.lines {
		r.said = append(r.said, line)
	}
	err := r.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		r.t.Fatal(err)
	}
	return r.ProcessState.ExitCode()
}

// upstream listens for the program, and returns its connection once it is there.
func upstream(t *testing.T) (addr string, accept func() *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), func() *net.TCPConn {
		t.Helper()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn.(*net.TCPConn)
	}
}

func message(i int) string { return fmt.Sprintf("%012d\n", i) }

// take has a client that acknowledges the messages from first up to end, and leaves.
func take(t *testing.T, addr string, first, end int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	for i := first; i < end; i++ {
		rec, err := outbox.Framed{}.ReadRecord(conn)
		if err != nil || string(rec.Data) != message(i) {
			t.Fatalf("message %d: %q, %v", i, rec.Data, err)
		}
		if err := (outbox.Framed{}).WriteAck(conn, rec.Seq); err != nil {
			t.Fatal(err)
		}
	}
	conn.(*net.TCPConn).CloseWrite() // and no reset that overtakes the acknowledgements
	io.Copy(io.Discard, conn)
}

const rates = `^in \d+/s, out \d+/s, \d+ B in memory, backlog %s, zero window \d+ ms$`

// The program takes 1,000 messages, delivers 400, is stopped, and delivers the rest
// when it runs again.
func TestRelay(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	dir := t.TempDir()
	addr, accept := upstream(t)

	r := start(t, "-upstream", addr, "-listen", "127.0.0.1:0", "-dir", dir)
	listening := r.waitFor(`^listening on (\S+), 0 messages are owed from before$`)[1]
	up := accept()
	r.waitFor("^taking messages from " + regexp.QuoteMeta(addr) + "$")
	for i := range 1000 {
		if _, err := io.WriteString(up, message(i)); err != nil {
			t.Fatal(err)
		}
	}
	r.waitFor(fmt.Sprintf(rates, "1000"))
	take(t, listening, 0, 400)
	r.waitFor(`^client \S+ is here, 1000 messages are owed to it$`)
	r.waitFor(`^client \S+ is gone: .*EOF$`)
	r.waitFor(fmt.Sprintf(rates, "600"))
	r.Process.Signal(os.Interrupt)
	if code := r.end(); code != 0 || r.error.Len() > 0 {
		t.Errorf("interrupted: status %d, %q", code, r.error.String())
	}

	r = start(t, "-upstream", addr, "-listen", "127.0.0.1:0", "-dir", dir)
	listening = r.waitFor(`^listening on (\S+), 600 messages are owed from before$`)[1]
	up = accept()
	if _, err := io.WriteString(up, message(1000)); err != nil {
		t.Fatal(err)
	}
	up.CloseWrite()
	r.waitFor(`^the upstream has ended; 601 messages are owed to the client$`)
	take(t, listening, 400, 1001)
	r.waitFor(fmt.Sprintf(rates, "0"))
	r.Process.Signal(syscall.SIGTERM)
	if code := r.end(); code != 0 || r.error.Len() > 0 {
		t.Errorf("terminated: status %d, %q", code, r.error.String())
	}
}

func TestRelayFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	inUse := t.TempDir()
	q, err := outbox.Open(inUse, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nobody there":    {[]string{"-upstream", nobody, "-listen", "127.0.0.1:0", "-dir", t.TempDir()}, 1, "relay: dial tcp " + nobody},
		"no such address": {[]string{"-upstream", nobody, "-listen", "nowhere", "-dir", t.TempDir()}, 1, "relay: listen tcp: address nowhere"},
		"queue in use":    {[]string{"-upstream", nobody, "-listen", "127.0.0.1:0", "-dir", inUse}, 1, "queue is in use"},
		"unknown flag":    {[]string{"-nosuchflag"}, 2, "not defined: -nosuchflag"},
		"argument":        {[]string{"extra"}, 2, `relay: unexpected argument "extra"`},
		"no size":         {[]string{"-size", "0"}, 2, "relay: a message of 0 bytes"},
		"story and work":  {[]string{"-naive", "-upstream", nobody}, 2, "takes no -upstream"},
		"help":            {[]string{"-h"}, 0, "Usage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, tc.args...)
			if code := r.end(); code != tc.code || !strings.Contains(r.error.String(), tc.says) {
				t.Errorf("status %d, %q, want %d and %q", code, r.error.String(), tc.code, tc.says)
			}
		})
	}
}

// An upstream that fails ends the program, which says why.
func TestRelayWithoutUpstream(t *testing.T) {
	t.Parallel()
	addr, accept := upstream(t)
	r := start(t, "-upstream", addr, "-listen", "127.0.0.1:0", "-dir", t.TempDir())
	up := accept()
	r.waitFor("^taking messages")
	up.SetLinger(0)
	up.Close()
	if code := r.end(); code != 1 || !strings.Contains(r.error.String(), "relay: reading from "+addr) {
		t.Errorf("status %d, %q", code, r.error.String())
	}
}

func TestNaive(t *testing.T) {
	t.Parallel()
	r := start(t, "-naive")
	if code := r.end(); code != 0 {
		if strings.Contains(r.error.String(), errors.ErrUnsupported.Error()) {
			t.Skip(r.error.String())
		}
		t.Fatalf("status %d, %q, %q", code, r.said, r.error.String())
	}
	if n := len(r.said); n < 2 || !regexp.MustCompile(`^reset after \d+ ms; \d+ of \d+ messages lost$`).MatchString(r.said[n-1]) {
		t.Errorf("it said %q", r.said)
	}
}
