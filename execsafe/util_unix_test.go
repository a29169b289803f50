// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func errorsIs(err, target error) bool { return errors.Is(err, target) }

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// retimed runs the command under r with a Timeout and a Grace that are doubled until the
// run went as far as the test needs: how far a child gets in a given time, and how soon
// it is dead, is up to the machine. One that never gets there comes back as it is.
func retimed(t *testing.T, r Runner, ok func(*Result) bool, cmd func() *exec.Cmd) (*Result, error) {
	t.Helper()
	for r.Timeout = soon; ; r.Timeout, r.Grace = 2*r.Timeout, 2*r.Grace {
		res, err := r.Run(t.Context(), cmd())
		if ok(res) && !errors.Is(err, errUndead) || r.Timeout > slack {
			return res, err
		}
		if errors.Is(err, errUndead) {
			r.Linger = 2 * max(r.Linger, defaultLinger)
		}
	}
}

// untilReady does that until the steps have come to write "ready" to stdout.
func untilReady(t *testing.T, r Runner, steps ...string) (*Result, error) {
	t.Helper()
	return retimed(t, r, isReady, func() *exec.Cmd { return do(t, steps...) })
}

func isReady(res *Result) bool { return strings.Contains(res.Stdout.String(), "ready") }

// atReady calls f, maybe more than once, when the steps have written "ready" to stdout.
func atReady(f func()) Capture {
	var seen []byte
	return All(1 << 20).Tee(writerFunc(func(p []byte) (int, error) {
		if seen = append(seen, p...); bytes.Contains(seen, []byte("ready")) {
			f()
		}
		return len(p), nil
	}))
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(slack); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// pids returns the children that a "fork" step has told of.
func pids(out string) (pids []int) {
	for line := range strings.Lines(out) {
		if s, ok := strings.CutPrefix(line, "pid "); ok {
			if pid, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// alive reports whether pid runs: a zombie does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !os.IsNotExist(err)
	}
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

// gone checks that the children a command told of are dead.
func gone(t *testing.T, res *Result) {
	t.Helper()
	found := pids(res.Stdout.String())
	if len(found) == 0 {
		t.Errorf("no child in %d bytes of output", res.Stdout.Len())
	}
	for _, pid := range found { // killed, but perhaps not yet run to its end
		eventually(t, fmt.Sprintf("the end of process %d", pid), func() bool { return !alive(pid) })
	}
}
