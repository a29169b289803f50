// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// earlier fails the test if f takes as long as d, which is a multiple of what is
// promised, and what the call took when the promise was broken.
func earlier(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took >= d {
		t.Errorf("took %v, want less than %v", took, d)
	}
}

// A stage that fails has the others stopped with it, not after it.
func TestPipeIsStoppedAtOnce(t *testing.T) {
	t.Parallel()
	r := Runner{Grace: slack, Stdout: All(1000)}
	// The second one ends when its input does, that is, with the first.
	res, err := r.Pipe(t.Context(), do(t, "sleep:1m"), do(t, "ignore", "outn:5000", "cat"))
	if !errors.Is(err, ErrOutputLimit) || res.Reason != OutputLimited || !strings.Contains(err.Error(), "stage 2 of 2") || res.Escalated {
		t.Errorf("%+v, %v", res, err)
	}
}

// G8, G10: the two waits for Linger are one, if they are for what was there before.
func TestHolderAndBlockedTeeTogether(t *testing.T) {
	t.Parallel()
	r := Runner{Linger: 4 * time.Second, Stdout: Capture{}.Tee(blocker(t))}
	earlier(t, 7900*time.Millisecond, func() {
		res, err := r.Run(t.Context(), do(t, "fork:sleep:1m", "out:hi"))
		if !errors.Is(err, ErrWriter) || !res.PipeHeld || !strings.HasSuffix(res.Stdout.String(), "hi") {
			t.Errorf("%+v, %v", res, err)
		}
		gone(t, res)
	})
}

// The same with the other callback, after a deadline.
func TestEscapeeAndBlockedOnEventTogether(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	r := Runner{Grace: 100 * time.Millisecond, Linger: 4 * time.Second, OnEvent: func(Event) { <-stop }}
	for r.Timeout = soon; ; r.Timeout *= 2 {
		var res *Result
		var err error
		earlier(t, r.Timeout+r.Grace+7900*time.Millisecond, func() {
			res, err = r.Run(t.Context(), do(t, "ignore", "forksetsid:sleep:30s", "out:ready", "sleep:1m"))
		})
		if !isReady(res) && r.Timeout < slack {
			continue
		}
		if !errors.Is(err, ErrTimeout) || !res.PipeHeld || !res.Escalated {
			t.Errorf("%+v, %v", res, err)
		}
		break
	}
}

// An escapee that holds the pipe is not in the group: there is nobody to wait the
// Grace for, and nobody to kill.
func TestNobodyToKill(t *testing.T) {
	t.Parallel()
	r := Runner{Grace: 20 * time.Second, Linger: 50 * time.Millisecond}
	earlier(t, 15*time.Second, func() {
		res, err := untilReady(t, r, "forksetsid:sleep:18s", "out:ready", "sleep:1m")
		if !errors.Is(err, ErrTimeout) || !res.PipeHeld || res.Escalated || res.Swept != 0 {
			t.Errorf("%+v, %v", res, err)
		}
	})
	// Only the Tee takes longer than Grace, and the child no longer to die of SIGTERM.
	for r.Timeout, r.Grace = soon, 50*time.Millisecond; ; r.Timeout, r.Grace = 2*r.Timeout, 2*r.Grace {
		r.Linger = 20 * r.Grace
		r.Stdout = All(100).Tee(writerFunc(func(p []byte) (int, error) { time.Sleep(r.Timeout + 4*r.Grace); return len(p), nil }))
		res, err := r.Run(t.Context(), do(t, "out:ready", "sleep:1m"))
		if (!isReady(res) || res.Escalated) && r.Timeout < slack {
			continue
		}
		if !errors.Is(err, ErrTimeout) || res.Escalated {
			t.Errorf("%+v, %v", res, err)
		}
		break
	}
}

// What ends after the child has exited by itself cuts the wait short, and is not
// held against what the child has left alive on purpose.
func TestContextThatEndsAfterTheExit(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	var p *Process
	r := Runner{Leftovers: LeaveLeftovers, Linger: time.Minute}
	p, err := r.Start(ctx, do(t, "fork:sleep:12s", "out:hi"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.exit
	cancel(why)
	earlier(t, 10*time.Second, func() {
		res, err := p.Wait()
		if !errors.Is(err, why) || res.Reason != Canceled || res.ExitCode != 0 || res.Escalated || !res.PipeHeld {
			t.Errorf("%+v, %v", res, err)
		}
		for _, pid := range pids(res.Stdout.String()) {
			if !alive(pid) {
				t.Error("what was to be left was stopped")
			}
			_ = syscall.Kill(pid, syscall.SIGKILL) // and its reader with it
		}
	})
}

// An empty pipe is no reason to blame a context that ended after the child.
func TestContextThatEndsAfterACompleteRun(t *testing.T) {
	t.Parallel()
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := Start(ctx, do(t, "outn:300000"))
		if err != nil {
			t.Fatal(err)
		}
		<-p.exit
		cancel()
		if res, err := p.Wait(); err != nil || res.Stdout.Len() != 300000 {
			t.Errorf("%+v, %v", res, err)
		}
	}
}

type goexit struct{}

func (goexit) Read([]byte) (int, error) { runtime.Goexit(); return 0, nil }

// As with a t.Fatal in a reader: the child must still see the end of its input.
func TestStdinThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("cat")
	cmd.Stdin = goexit{}
	if res, err := (Runner{Timeout: slack}).Run(t.Context(), cmd); err == nil || res.Reason != Exited || !strings.Contains(err.Error(), "Stdin") {
		t.Errorf("%v: %v", res.Reason, err)
	}
}

// G7: a connection is copied by splice(2), where it matters who waits for whom.
func TestStdinFromASilentConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := peer.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("head", "-c", "2")
	cmd.Stdin = c
	within(t, 0, func() {
		if res := mustRun(t, Runner{}, cmd); res.Stdout.String() != "hi" {
			t.Errorf("%q", res.Stdout)
		}
	})
}

// Given the same context twice, the cause of Run's counts.
func TestCommandContextWithTheSameContext(t *testing.T) {
	t.Parallel()
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := Run(ctx, exec.CommandContext(ctx, "sleep", "60"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
}

// chain calls f for err and all that it wraps.
func chain(err error, f func(error)) {
	if err == nil {
		return
	}
	f(err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		chain(e.Unwrap(), f)
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			chain(e, f)
		}
	}
}

// The texts of what an Error wraps must not tell either.
func TestSecretsAreNowhereInTheChain(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	dir := exec.Command("true")
	dir.Dir = "/" + secret
	env := exec.Command("true")
	env.Env = []string{secret + "=\x00"}
	_, lookErr := exec.LookPath("/nowhere/" + secret)
	for name, tc := range map[string]struct {
		r    Runner
		cmd  *exec.Cmd
		want error
	}{
		"path":   {Runner{}, exec.Command("/nowhere/" + secret), fs.ErrNotExist},
		"name":   {Runner{}, exec.Command("nowhere-" + secret), exec.ErrNotFound},
		"lookup": {Runner{}, &exec.Cmd{Path: "/bin/true", Err: lookErr}, fs.ErrNotExist},
		"dir":    {Runner{}, dir, fs.ErrNotExist},
		"spill":  {Runner{Stdout: Spill("/"+secret, 1, 2)}, exec.Command("true"), fs.ErrNotExist},
		"env":    {Runner{}, env, ErrInvalid},
		"stderr": {Runner{}, sh("echo " + secret + " >&2; exit 3"), nil},
	} {
		tc.r.Redact = []string{secret}
		_, err := tc.r.Run(t.Context(), tc.cmd)
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		chain(err, func(err error) {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %T: %v", name, err, err)
			}
			if ee, ok := err.(*exec.ExitError); ok && strings.Contains(string(ee.Stderr), secret) {
				t.Errorf("%s: %q", name, ee.Stderr)
			}
		})
	}
	// What the caller brought is found again, and the only place that tells.
	why := errors.New("why " + secret)
	bad := writerFunc(func([]byte) (int, error) { return 0, why })
	_, err := Runner{Redact: []string{secret}, Stdout: Capture{}.Tee(bad)}.Run(t.Context(), exec.Command("yes"))
	if !errors.Is(err, why) || !errors.Is(err, ErrWriter) {
		t.Error(err)
	}
	chain(err, func(err error) {
		if err != why && strings.Contains(err.Error(), secret) {
			t.Errorf("%T: %v", err, err)
		}
	})
}
