// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// soon is when a run is stopped whose child has to be ready by then.
const soon = time.Second

// G14
func TestContextStopsTheWholeTree(t *testing.T) {
	t.Parallel()
	why := errors.New("not needed any more")
	ctx, end := context.WithCancelCause(t.Context())
	r := Runner{Stdout: atReady(func() { end(why) })}
	within(t, 0, func() {
		res, err := r.Run(ctx, do(t, "out:hi", "fork:sleep:1m", "out:ready", "sleep:1m"))
		if !errors.Is(err, why) || res.Reason != Canceled || !strings.HasPrefix(res.Stdout.String(), "hi") {
			t.Errorf("%+v, %v", res, err)
		}
		if ee, ok := errors.AsType[*exec.ExitError](err); !ok || ee.ExitCode() != -1 || res.Signal != syscall.SIGTERM {
			t.Errorf("no *exec.ExitError with the signal in %v", err)
		}
		gone(t, res)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, do(t, "sleep:1m")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// G15
func TestChildThatIgnoresSIGTERMIsKilled(t *testing.T) {
	t.Parallel()
	r := Runner{Grace: 100 * time.Millisecond}
	within(t, soon+100*time.Millisecond, func() {
		res, err := untilReady(t, r, "ignore", "out:ready", "sleep:1m")
		if !errors.Is(err, ErrTimeout) || !res.Escalated || res.Signal != syscall.SIGKILL || res.Reason != TimedOut {
			t.Errorf("%+v, %v", res, err)
		}
	})
	r.Grace = -1
	res, err := untilReady(t, r, "trap:never", "out:ready", "sleep:1m")
	if !errors.Is(err, ErrTimeout) || res.Escalated || res.Signal != syscall.SIGKILL || res.Stdout.String() != "ready" {
		t.Errorf("negative Grace: %+v, %v", res, err)
	}
}

// G16
func TestChildThatEndsWellOnSIGTERM(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why not")
	r := Runner{Grace: time.Minute, Stdout: All(100).Tee(writerFunc(func(p []byte) (int, error) { cancel(why); return len(p), nil }))}
	res, err := r.Run(ctx, do(t, "trap:bye", "out:ready ", "sleep:1m"))
	if !errors.Is(err, why) || res.Reason != Canceled || res.ExitCode != 0 || res.Stdout.String() != "ready bye" {
		t.Errorf("%+v, %v", res, err)
	}
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Errorf("an *exec.ExitError of exit status 0 in %v", err)
	}
}

// G17: with and without a hold on the pipe.
func TestMembersThatIgnoreSIGTERMAreKilledAfterTheirLeader(t *testing.T) {
	t.Parallel()
	for _, fork := range []string{"fork", "forkquiet"} {
		r := Runner{Grace: 200 * time.Millisecond}
		mark := filepath.Join(t.TempDir(), "ignores")
		ok := func(res *Result) bool { return isReady(res) && res.Signal != syscall.SIGKILL } // the leader took its SIGTERM in time
		res, err := retimed(t, r, ok, func() *exec.Cmd {
			os.Remove(mark)
			return do(t, fork+":ignore+touch:"+mark+"+sleep:1m", "waitfile:"+mark, "out:ready", "sleep:1m")
		})
		if !errors.Is(err, ErrTimeout) || !res.Escalated || res.Swept != 1 || res.Signal != syscall.SIGTERM {
			t.Errorf("%s: %+v, %v", fork, res, err)
		}
		gone(t, res)
	}
}

// G17: those that need their Grace get it, although the leader is gone.
func TestMembersGetTheirGrace(t *testing.T) {
	t.Parallel()
	res, err := untilReady(t, Runner{Grace: slack}, "fork:trap:saved+out:ready+sleep:1m", "sleep:1m")
	if !errors.Is(err, ErrTimeout) || res.Escalated || !strings.HasSuffix(res.Stdout.String(), "saved") {
		t.Errorf("%+v, %v", res, err)
	}
}

// G18
func TestForkStormIsKilledWhole(t *testing.T) {
	t.Parallel()
	storm := `echo $$; i=0; while [ $i -lt 200 ]; do sleep 61.25 & i=$((i+1)); done; wait`
	begun := func(res *Result) bool { return res.Stdout.Len() > 0 }
	res, err := retimed(t, Runner{Grace: -1}, begun, func() *exec.Cmd { return exec.Command("sh", "-c", storm) })
	if !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	pgid, err := strconv.Atoi(strings.TrimSpace(res.Stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "200 killed processes to end", func() bool { return countGroup(pgid) == 0 })
}

// Row 10 of the field: what was left behind after a good end, holding nothing.
func TestLeftoversAreSweptAfterANormalExit(t *testing.T) {
	t.Parallel()
	res := mustRun(t, Runner{}, do(t, "forkquiet:sleep:1m", "forkquiet:ignore+sleep:1m"))
	if res.Swept != 2 || res.PipeHeld || res.Escalated {
		t.Errorf("%+v", res)
	}
	gone(t, res)

	res = mustRun(t, Runner{Leftovers: LeaveLeftovers}, do(t, "forkquiet:sleep:1m"))
	left := pids(res.Stdout.String())
	if res.Swept != 0 || len(left) != 1 || !alive(left[0]) {
		t.Errorf("%+v", res)
	}
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// G21: this is what a process group cannot do; see Runner.Cgroup.
func TestEscapeeSurvivesAndIsCutOff(t *testing.T) {
	t.Parallel()
	res, err := Run(t.Context(), do(t, "forksetsid:sleep:1m"))
	if !errors.Is(err, ErrPipeHeld) || !res.PipeHeld || res.Swept != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	for _, pid := range pids(res.Stdout.String()) {
		if !alive(pid) {
			t.Error("the escapee is dead")
		}
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// G22
func TestStoppedChildIsContinuedToEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := make(chan struct{})
	r := Runner{Grace: slack, Stdout: atReady(sync.OnceFunc(func() { close(ready) }))}
	p, err := r.Start(ctx, do(t, "trap: continued", "out:ready", "sleep:1m"))
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
	cancel()
	res, err := p.Wait()
	if !errors.Is(err, context.Canceled) || res.Escalated || res.Stdout.String() != "ready continued" {
		t.Errorf("%+v, %v", res, err)
	}
}

// The child's own group is what all that rests upon.
func TestChildLeadsItsGroupUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	pgid := func(r Runner, attr *syscall.SysProcAttr) (int, int) {
		cmd := do(t, "pgid")
		cmd.SysProcAttr = attr
		p, err := r.Start(t.Context(), cmd)
		if err != nil {
			t.Fatal(err)
		}
		res, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(res.Stdout.String())
		if cmd.SysProcAttr != attr {
			t.Error("the caller's SysProcAttr was changed")
		}
		return n, p.Pid()
	}
	if g, pid := pgid(Runner{}, nil); g != pid {
		t.Errorf("group %d, pid %d", g, pid)
	}
	if g, pid := pgid(Runner{}, &syscall.SysProcAttr{Setsid: true}); g != pid {
		t.Errorf("Setsid: group %d, pid %d", g, pid)
	}
	// G47: a child that reads the terminal has to stay in the foreground's group.
	if g, _ := pgid(Runner{Foreground: true}, nil); g != syscall.Getpgrp() {
		t.Errorf("Foreground: group %d, want %d", g, syscall.Getpgrp())
	}
}

// G47: then only the child itself can be stopped; our own group is not.
func TestForegroundChildIsStoppedAlone(t *testing.T) {
	t.Parallel()
	res, err := untilReady(t, Runner{Foreground: true}, "forkquiet:sleep:1m", "out:ready", "sleep:1m")
	if !errors.Is(err, ErrTimeout) || res.Swept != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	for _, pid := range pids(res.Stdout.String()) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// G37: each failure has its own name, and the first one stays.
func TestCausesAreDistinct(t *testing.T) {
	t.Parallel()
	all := []error{ErrTimeout, ErrIdle, ErrOutputLimit, ErrWriter, ErrPipeHeld, ErrStopped, ErrInvalid, context.Canceled, context.DeadlineExceeded}
	tell := func(name string, res *Result, err error, reason Reason, want error) {
		t.Helper()
		if res.Reason != reason {
			t.Errorf("%s: %v: %v", name, res.Reason, err)
		}
		for _, other := range all {
			if errors.Is(err, other) != (other == want) {
				t.Errorf("%s: errors.Is(%q, %q) = %t", name, err, other, other != want)
			}
		}
		var e *Error
		if !errors.As(err, &e) || e.Result != res {
			t.Errorf("%s: no *Error with the Result in %v", name, err)
		}
	}
	check := func(name string, r Runner, cmd *exec.Cmd, reason Reason, want error) {
		t.Helper()
		res, err := r.Run(t.Context(), cmd)
		tell(name, res, err, reason, want)
	}
	check("timeout", Runner{Timeout: soon}, do(t, "sleep:1m"), TimedOut, ErrTimeout)
	check("idle", Runner{Idle: soon}, do(t, "out:x", "sleep:1m"), IdleTimedOut, ErrIdle)
	check("limit", Runner{Stdout: All(10)}, do(t, "outn:1000000", "sleep:1m"), OutputLimited, ErrOutputLimit)
	written := func(res *Result) bool { return res.Stdout.Total() == 11 }
	res, err := retimed(t, Runner{Stdout: All(10), Grace: 2 * soon}, written, func() *exec.Cmd { return do(t, "ignore", "outn:11", "sleep:1m") })
	tell("limit before timeout", res, err, OutputLimited, ErrOutputLimit)
	check("exit", Runner{}, do(t, "exit:7"), Exited, nil)
	check("signal", Runner{}, do(t, "kill:9"), Signaled, nil)
	check("start", Runner{}, exec.Command("/nowhere/at/all"), StartFailed, nil)
}

func TestIdleStartsAnewWithEachOutput(t *testing.T) {
	t.Parallel()
	for idle := time.Second; ; idle *= 4 { // the machine may be busy for as long as that
		steps := []string{"sleep:10ms"}
		for range 8 {
			steps = append(steps, "out:x", "sleep:"+(idle/10).String(), "err:y", "sleep:"+(idle/10).String())
		}
		res, err := Runner{Idle: idle}.Run(t.Context(), do(t, steps...))
		if err != nil && idle < slack {
			continue
		}
		if err != nil || res.Stdout.Len() != 8 || res.Wall < 3*idle/2 {
			t.Errorf("%+v, %v", res, err)
		}
		return
	}
}

// The Timeout covers the wait for a descendant too, however long Linger is.
func TestTimeoutBoundsTheDrain(t *testing.T) {
	t.Parallel()
	exited := func(res *Result) bool { return res.ExitCode == 0 } // before the Timeout
	within(t, soon, func() {
		res, err := retimed(t, Runner{Linger: time.Hour}, exited, func() *exec.Cmd { return do(t, "fork:sleep:1m") })
		if !errors.Is(err, ErrTimeout) || !res.PipeHeld || res.ExitCode != 0 || res.Reason != TimedOut {
			t.Errorf("%+v, %v", res, err)
		}
		gone(t, res)
	})
}

func TestOutputAtItsLimit(t *testing.T) {
	t.Parallel()
	if res := mustRun(t, Runner{Stdout: All(5000)}, do(t, "outn:5000")); res.Stdout.Len() != 5000 {
		t.Errorf("%d bytes", res.Stdout.Len())
	}
	res, err := Runner{Stdout: All(5000)}.Run(t.Context(), do(t, "outn:5001"))
	if !errors.Is(err, ErrOutputLimit) || res.Stdout.String() != pattern(5000) || res.Stdout.Omitted() != 1 || res.Reason != OutputLimited {
		t.Errorf("%d bytes, %d omitted: %v", res.Stdout.Len(), res.Stdout.Omitted(), err)
	}
}
