// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// blocker is a writer that does not return until the test ends.
func blocker(t *testing.T) writerFunc {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	return func(p []byte) (int, error) { <-stop; return len(p), nil }
}

func TestTeeSeesEveryByte(t *testing.T) {
	t.Parallel()
	var out, err, again bytes.Buffer
	r := Runner{Stdout: Tail(10).Tee(&out).Tee(&again), Stderr: Discard().Tee(&err)}
	res := mustRun(t, r, do(t, "outn:1000000", "errn:300001"))
	if out.String() != pattern(1000000) || again.String() != out.String() || err.String() != pattern(300001) {
		t.Errorf("got %d, %d and %d bytes, or others", out.Len(), again.Len(), err.Len())
	}
	if res.Stdout.String() != pattern(1000000)[1000000-10:] || res.Stderr.Total() != 300001 || res.Stderr.Len() != 0 {
		t.Errorf("captured %q and %q", res.Stdout, res.Stderr)
	}
}

// As with os/exec, a writer that gets both streams need not be fit for concurrent use.
func TestOneTeeForBothStreams(t *testing.T) {
	t.Parallel()
	var both bytes.Buffer // the race detector is the judge
	mustRun(t, Runner{Stdout: Capture{}.Tee(&both), Stderr: Capture{}.Tee(&both)}, do(t, "alternate:10"))
	if both.Len() != 2*10*70_000 {
		t.Errorf("got %d bytes", both.Len())
	}
}

// G8
func TestBlockedTeeEndsWithTheDeadline(t *testing.T) {
	t.Parallel()
	r := Runner{Grace: 200 * time.Millisecond, Linger: 50 * time.Millisecond, Stdout: Tail(1000).Tee(blocker(t))}
	yes := func() *exec.Cmd { return exec.Command("yes") }
	blocked := func(res *Result) bool { return res.Reason == WriterFailed } // and not just slow to write so much
	within(t, soon, func() {
		res, err := retimed(t, r, blocked, yes)
		if !errors.Is(err, ErrWriter) || !errors.Is(err, ErrTimeout) || res.Reason != WriterFailed {
			t.Errorf("%v: %v", res.Reason, err)
		}
		if res.Stdout.Len() != 1000 {
			t.Errorf("captured %d bytes", res.Stdout.Len())
		}
	})
	for patience := 100 * time.Millisecond; ; patience *= 2 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("enough"))
		res, err := r.Run(ctx, yes())
		cancel()
		if !blocked(res) && patience < slack {
			continue
		}
		if !errors.Is(err, ErrWriter) || !errors.Is(err, context.Cause(ctx)) || res.Reason != WriterFailed {
			t.Errorf("%v: %v", res.Reason, err)
		}
		break
	}
}

// G8: without a deadline, the child's exit starts the clock. What was captured is
// complete: only the writer misses something.
func TestBlockedTeeIsAbandonedAfterTheExit(t *testing.T) {
	t.Parallel()
	within(t, defaultLinger, func() {
		res, err := Runner{Stdout: All(1 << 20).Tee(blocker(t))}.Run(t.Context(), do(t, "outn:100000"))
		if !errors.Is(err, ErrWriter) || res.Reason != WriterFailed || res.ExitCode != 0 || res.Stdout.String() != pattern(100000) {
			t.Errorf("%v, code %d, %d bytes: %v", res.Reason, res.ExitCode, res.Stdout.Len(), err)
		}
	})
}

// G8: a Tee that is stuck is no idleness of the child's, but has the same bound.
func TestBlockedTeeUnderIdle(t *testing.T) {
	t.Parallel()
	for idle := 150 * time.Millisecond; ; idle *= 2 {
		r := Runner{Idle: idle, Stdout: Tail(10).Tee(blocker(t)), Linger: 50 * time.Millisecond}
		res, err := r.Run(t.Context(), exec.Command("yes"))
		if res.Reason == IdleTimedOut && idle < slack { // it had no time to write so much
			continue
		}
		if !errors.Is(err, ErrWriter) || errors.Is(err, ErrIdle) || res.Reason != WriterFailed {
			t.Errorf("%v: %v", res.Reason, err)
		}
		break
	}
}

// A slow writer is waited for as long as it gets on.
func TestSlowTeeGetsEverything(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	slow := writerFunc(func(p []byte) (int, error) { time.Sleep(20 * time.Millisecond); return got.Write(p) })
	r := Runner{Linger: 5 * time.Second, Stdout: Discard().Tee(slow)}
	mustRun(t, r, do(t, "outn:400000"))
	if got.String() != pattern(400000) {
		t.Errorf("got %d bytes, or others", got.Len())
	}
}

// G9
func TestFailingTeeStopsTheCommand(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	for name, tc := range map[string]struct {
		write writerFunc
		want  string
	}{
		"error":  {func([]byte) (int, error) { return 0, full }, "disk full"},
		"short":  {func(p []byte) (int, error) { return len(p) / 2, nil }, "short write"},
		"panic":  {func([]byte) (int, error) { panic("ouch") }, "panic: ouch"},
		"goexit": {func([]byte) (int, error) { runtime.Goexit(); return 0, nil }, "ended its goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, 0, func() {
				res, err := Runner{Stdout: Tail(100).Tee(tc.write)}.Run(t.Context(), exec.Command("yes"))
				if !errors.Is(err, ErrWriter) || !strings.Contains(err.Error(), tc.want) || res.Reason != WriterFailed || res.Signal != syscall.SIGTERM {
					t.Errorf("%v, signal %v: %v", res.Reason, res.Signal, err)
				}
				if name == "error" && !errors.Is(err, full) {
					t.Errorf("%v does not wrap the writer's error", err)
				}
			})
		})
	}
}

func TestFailingTeeAtTheVeryEnd(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	for range 20 {
		res, err := Runner{Stdout: Capture{}.Tee(writerFunc(func([]byte) (int, error) { return 0, bad }))}.Run(t.Context(), do(t, "out:x"))
		if !errors.Is(err, bad) || res.Reason != WriterFailed || res.Stdout.String() != "x" {
			t.Fatalf("%v, %q: %v", res.Reason, res.Stdout, err)
		}
	}
}

// G8, for the other callback.
func TestOnEventThatNeverReturns(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	within(t, defaultLinger, func() {
		res, err := Runner{OnEvent: func(Event) { <-stop }}.Run(t.Context(), exec.Command("true"))
		if !errors.Is(err, ErrWriter) || res.Reason != WriterFailed || res.ExitCode != 0 {
			t.Errorf("%v: %v", res.Reason, err)
		}
	})
	if _, err := (Runner{OnEvent: func(Event) { panic("ouch") }}).Run(t.Context(), do(t, "sleep:1m")); !errors.Is(err, ErrWriter) {
		t.Error(err)
	}
}

func TestEventsTellTheStory(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var kinds []EventKind
	var last Event
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := Runner{Grace: 100 * time.Millisecond, OnEvent: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind != EventOutput || len(kinds) == 0 || kinds[len(kinds)-1] != EventOutput {
			kinds = append(kinds, e.Kind)
		}
		if e.Stdout < last.Stdout || e.Pid == 0 || e.Args[0] == "" || e.Time.Before(last.Time) {
			t.Errorf("%+v after %+v", e, last)
		}
		if last = e; e.Stdout == 1000 {
			cancel()
		}
	}}
	res, _ := r.Run(ctx, do(t, "ignore", "outn:1000", "sleep:1m"))
	mu.Lock()
	defer mu.Unlock()
	want := []EventKind{EventStarted, EventOutput, EventStopping, EventKilling, EventExited}
	if len(kinds) != len(want) {
		t.Fatalf("events %v, want %v", kinds, want)
	}
	for i := range want {
		if kinds[i] != want[i] {
			t.Fatalf("events %v, want %v", kinds, want)
		}
	}
	if last.Stdout != 1000 || last.Reason != Canceled || last.ExitCode != res.ExitCode {
		t.Errorf("last event %+v", last)
	}
}
