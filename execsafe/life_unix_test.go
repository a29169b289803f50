// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// G32
func TestExitCodesAndSignalsRoundTrip(t *testing.T) {
	t.Parallel()
	for code := 0; code < 256; code += 17 {
		res, err := Run(t.Context(), do(t, fmt.Sprintf("exit:%d", code)))
		ee, ok := errors.AsType[*exec.ExitError](err)
		if res.ExitCode != code || res.Signal != nil || res.Reason != Exited || ok != (code != 0) || ok && ee.ExitCode() != code {
			t.Errorf("%d: %+v, %v", code, res, err)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGALRM} {
		res, err := Run(t.Context(), exec.Command("sh", "-c", fmt.Sprintf("kill -%d $$", int(sig))))
		if res.Signal != sig || res.ExitCode != -1 || res.Reason != Signaled || !strings.Contains(err.Error(), "signal: "+sig.String()) {
			t.Errorf("%v: %+v, %v", sig, res, err)
		}
	}
	r := Runner{ExitOK: []int{1, 7}}
	for code, ok := range map[int]bool{0: true, 1: true, 2: false, 7: true} {
		if res, err := r.Run(t.Context(), do(t, fmt.Sprintf("exit:%d", code))); (err == nil) != ok || res.ExitCode != code {
			t.Errorf("ExitOK %d: %v", code, err)
		}
	}
}

// G24: either it ended by itself, well, or our signal or our reason shows.
func TestCancelRacesTheExit(t *testing.T) {
	t.Parallel()
	n := 300
	if testing.Short() {
		n = 50
	}
	for i := range n {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := Start(ctx, exec.Command("true"))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(i%30)*50*time.Microsecond, cancel)
		res, err := p.Wait()
		cancel()
		switch {
		case err == nil && res.Reason == Exited && res.ExitCode == 0:
		case errors.Is(err, context.Canceled) && res.Reason == Canceled:
			if res.ExitCode == 0 && strings.Contains(err.Error(), "killed") {
				t.Fatalf("%+v, %v", res, err)
			}
		default:
			t.Fatalf("%+v, %v", res, err)
		}
	}
}

// G25
func TestWaitAndSignalFromManyGoroutines(t *testing.T) {
	t.Parallel()
	p, err := Start(t.Context(), exec.Command("sleep", "60")) // a Go child may have no handlers yet, and inherits an ignored SIGINT
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make([]*Result, 20)
	for i := range results {
		wg.Go(func() { results[i], _ = p.Wait() })
		wg.Go(func() {
			if err := p.Signal(syscall.SIGUSR1); err != nil && err != os.ErrProcessDone {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, res := range results {
		if res != results[0] || res.Reason != Signaled || res.Signal != syscall.SIGUSR1 {
			t.Errorf("%+v", res)
		}
	}
	if err := p.Signal(syscall.SIGUSR1); err != os.ErrProcessDone {
		t.Errorf("Signal after the end: %v", err)
	}
	if err := p.Stop(); err != os.ErrProcessDone {
		t.Errorf("Stop after the end: %v", err)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	p, err := Start(t.Context(), do(t, "fork:sleep:1m", "sleep:1m"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := p.Stop(); err != nil && err != os.ErrProcessDone {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if res, err := p.Wait(); !errors.Is(err, ErrStopped) || res.Reason != Canceled {
		t.Errorf("%v: %v", res.Reason, err)
	}
}

// The Cmd's own context stops the tree too.
func TestCommandContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "sh", "-c", "sleep 60 & sleep 60; true")
	p, err := Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if res, err := p.Wait(); !errors.Is(err, context.Canceled) || res.Reason != Canceled || res.Swept != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// G41: a child must not inherit the write end of another one's stdin.
func TestConcurrentRunsDoNotInheritEachOthersPipes(t *testing.T) {
	t.Parallel()
	n := 40
	if testing.Short() {
		n = 10
	}
	within(t, 2*time.Second, func() {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				cmd := exec.Command("cat")
				cmd.Stdin = strings.NewReader(fmt.Sprint(i))
				if res, err := Run(t.Context(), cmd); err != nil || res.Stdout.String() != fmt.Sprint(i) {
					t.Errorf("%q, %v", res.Stdout, err)
				}
			})
			wg.Go(func() { Run(t.Context(), exec.Command("sleep", "1")) })
		}
		wg.Wait()
	})
}

func TestResultTellsTheCost(t *testing.T) {
	t.Parallel()
	before := time.Now()
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
	cmd.Dir = "/"
	res := mustRun(t, Runner{}, cmd)
	if res.User+res.System <= 0 || res.MaxRSS < 100<<10 || res.Wall <= 0 || res.Start.Before(before) || res.Dir != "/" || res.Args[0] != "sh" {
		t.Errorf("%+v", res)
	}
	if res.Stages != nil {
		t.Error("Stages of a single command")
	}
}

// What is in Redact appears nowhere but in the captured output.
func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	const secret, other = "hunter2", "hunter2-and-more"
	var log bytes.Buffer
	var mu sync.Mutex
	var seen strings.Builder
	r := Runner{
		Redact: []string{secret, other, ""}, Grace: -1,
		Logger:  slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnEvent: func(e Event) { mu.Lock(); defer mu.Unlock(); fmt.Fprintf(&seen, "%+v", e) },
	}
	look := func(what, text string) {
		t.Helper()
		if strings.Contains(text, "hunter") || strings.Contains(text, "and-more") {
			t.Errorf("%s: %s", what, text)
		}
	}
	check := func(cmd *exec.Cmd) {
		t.Helper()
		res, err := r.Run(t.Context(), cmd)
		if err == nil {
			t.Fatal("no error")
		}
		look("result", fmt.Sprint(res.Args, res.Dir))
		for e := err; e != nil; e = errors.Unwrap(e) {
			look("error", e.Error())
		}
		if ee, ok := errors.AsType[*exec.ExitError](err); ok {
			look("ExitError.Stderr", string(ee.Stderr))
			if !strings.Contains(res.Stderr.String(), secret) {
				t.Error("the captured output was changed")
			}
		}
	}
	check(do(t, "err:the password is "+secret+" or "+other+"\n", "exit:1"))
	check(exec.Command("/nowhere/" + secret))
	check(exec.Command("no-such-" + secret))
	check(&exec.Cmd{Path: "/bin/true", Dir: "/nowhere/" + other})
	check(&exec.Cmd{Path: "/bin/true", Args: []string{"true", secret + "\x00"}})
	r.Stdout = All(1)
	check(do(t, "err:"+secret+"\n", "out:12", "sleep:1m"))
	mu.Lock()
	look("events", seen.String())
	mu.Unlock()
	look("log", log.String())
	if !strings.Contains(log.String(), "[redacted]") {
		t.Errorf("nothing was logged: %s", &log)
	}
}

func TestCutSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	red := newRedactor([]string{"abcdefgh", "multi\nline\nkey"})
	for name, tc := range map[string]struct {
		c    Capture
		text string
	}{
		"by a Tail":      {Tail(8), "xxabcdefgh123"},
		"by a Head":      {Head(8), "12345abcdefgh"},
		"by a limit":     {All(8), "12345abcdefgh"},
		"by a HeadTail":  {HeadTail(4, 6), "xxabcdefgh12"},
		"by the message": {All(1 << 20), "abcdefgh" + strings.Repeat("x", maxTail-4)},
		"by lines":       {Tail(12), "xx\nmulti\nline\nkey\n"},
	} {
		o, _, _ := capture(tc.c, []byte(tc.text))
		got := red.tail(o, maxTail)
		for _, part := range []string{"abc", "fgh", "efg", "line", "key"} {
			if strings.Contains(got, part) {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}

func TestErrorsReadWell(t *testing.T) {
	t.Parallel()
	r := Runner{Timeout: time.Minute}
	for want, cmd := range map[string]*exec.Cmd{
		`execsafe: sh -c "echo a >&2; echo b >&2; exit 2": exit status 2:` + "\n\ta\n\tb": exec.Command("sh", "-c", "echo a >&2; echo b >&2; exit 2"),
		`execsafe: sh -c "exit 2": exit status 2`:                                         exec.Command("sh", "-c", "exit 2"),
		`execsafe: /nowhere: fork/exec /nowhere: no such file or directory`:               exec.Command("/nowhere"),
	} {
		if _, err := r.Run(t.Context(), cmd); err == nil || err.Error() != want {
			t.Errorf("got  %q\nwant %q", err, want)
		}
	}
	long := exec.Command("false", strings.Repeat("é", 1000))
	if _, err := Run(t.Context(), long); len(err.Error()) > 700 || !strings.Contains(err.Error(), "… (1 arguments)") {
		t.Errorf("%q", err)
	}
	if got := (&Error{Result: &Result{Args: []string{"x"}}, Err: ErrIdle}).Error(); got != "execsafe: x: no output" {
		t.Errorf("%q", got)
	}
	for _, s := range []fmt.Stringer{Reason(99), Source(-1), EventKind(99), Leftovers(9)} {
		if !strings.ContainsAny(s.String(), "(") {
			t.Errorf("%s", s)
		}
	}
}

// An *exec.ExitError in the cause belongs to somebody else.
func TestCauseThatHoldsAnExitErrorIsLeftAlone(t *testing.T) {
	t.Parallel()
	theirs := &exec.ExitError{Stderr: []byte("theirs")}
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := Start(ctx, do(t, "err:ours", "sleep:1m"))
	if err != nil {
		t.Fatal(err)
	}
	cancel(theirs)
	if _, err := p.Wait(); !errors.Is(err, error(theirs)) || string(theirs.Stderr) != "theirs" {
		t.Errorf("%v; Stderr %q", err, theirs.Stderr)
	}
}
