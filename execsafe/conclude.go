// SPDX-License-Identifier: MIT

package execsafe

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// burial bounds how long the dead are awaited after SIGKILL: no longer than it takes
// unless they sit in an uninterruptible system call.
const burial = 100 * time.Millisecond

var errUndead = errors.New("still running after SIGKILL")

// conclude sweeps, reaps and publishes the result.
func (v *supervisor) conclude() {
	var ps *os.ProcessState
	var reapErr error
	if v.exited {
		ps, reapErr = v.bury()
	}
	var stdinErr error
	if v.stdin != nil {
		stdinErr = v.stdin.stop(v.r.Linger)
	}
	res := v.res
	for src, s := range v.streams {
		if s == nil {
			continue
		}
		res.PipeHeld = res.PipeHeld || s.held.Load()
		if Source(src) == FromStdout {
			res.Stdout = s.take()
		} else {
			res.Stderr = s.take()
		}
	}
	if v.cause == nil && v.late != nil && res.PipeHeld {
		v.cause = v.late
	}
	v.usage(ps)
	v.verdict(ps, reapErr, stdinErr)
	if v.exited {
		v.cleanUp()
	}
	close(v.done)
	if !v.exited { // it may yet die
		<-v.exit
		v.bury()
		v.cleanUp()
	}
}

// bury kills what is left of the tree and reaps the child, in the order in which
// the group can be named: through a pidfd even after its leader has been reaped,
// and then an empty group is told by one system call; by number only before.
func (v *supervisor) bury() (ps *os.ProcessState, err error) {
	switch {
	case v.child == nil:
		ps = v.actor.reap()
	case v.child.outlivesReap():
		ps, err = v.child.reap()
		v.sweep()
	default:
		v.sweep()
		ps, err = v.child.reap()
	}
	return ps, err
}

// sweep ends the members of the group that are alive after its leader.
func (v *supervisor) sweep() {
	if v.leaving() {
		return
	}
	n := v.child.members()
	if n > 0 && v.cause != nil && !v.killed { // they have been sent SIGTERM too
		waitUntil(time.Until(v.graceEnd), func() bool { n = v.child.members(); return n <= 0 })
		v.res.Escalated = v.res.Escalated || n > 0
	}
	if n == 0 {
		return
	}
	if !v.killed {
		v.res.Swept = max(n, 0)
	}
	v.killAll()
	waitUntil(burial, func() bool { return v.child.members() <= 0 })
	if v.res.Swept > 0 {
		v.log(slog.LevelWarn, "swept", slog.Int("processes", v.res.Swept))
	}
}

// waitUntil polls, as there is no way to wait for a group that is not ours to
// reap, from every millisecond to every 50.
func waitUntil(patience time.Duration, ok func() bool) {
	end := time.Now().Add(patience)
	for pause := time.Millisecond; !ok() && time.Now().Before(end); pause = min(2*pause, 50*time.Millisecond) {
		time.Sleep(pause)
	}
}

func (v *supervisor) usage(ps *os.ProcessState) {
	v.res.Wall = time.Since(v.began)
	if ps == nil {
		if v.child == nil {
			v.res.Signal = os.Kill
		}
		return
	}
	v.res.User, v.res.System, v.res.MaxRSS = ps.UserTime(), ps.SystemTime(), maxRSS(ps)
	v.res.ExitCode = ps.ExitCode()
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		v.res.Signal = ws.Signal()
	}
	v.user.ProcessState = ps
}

// verdict decides what the run was, tells it, and makes the error.
func (v *supervisor) verdict(ps *os.ProcessState, reapErr, stdinErr error) {
	res := v.res
	res.Reason = Exited
	if res.Signal != nil {
		res.Reason = Signaled
	}
	if v.cause != nil {
		res.Reason = v.cause.reason
	}
	if v.events != nil {
		e := v.event(EventExited)
		e.Reason, e.ExitCode = res.Reason, res.ExitCode
		v.events.post(e)
		most := v.r.Linger
		if v.cut { // its time is up already
			most = min(most, burial)
		}
		if !v.events.finish(most) && v.cause == nil {
			v.cause = &cause{WriterFailed, fmt.Errorf("%w: OnEvent did not return", ErrWriter)}
			res.Reason = WriterFailed
		}
	}
	var errs []error
	var exit *exec.ExitError
	if v.cause != nil {
		err := v.cause.err
		if v.cause.reason == WriterFailed {
			err = v.red.wrap(err)
		}
		errs = append(errs, err)
	}
	switch {
	case v.gaveUp && !v.exited:
		errs = append(errs, errUndead)
	case ps == nil && v.child != nil:
		errs = append(errs, fmt.Errorf("%w: %w", ErrNoStatus, reapErr))
	case ps != nil && !ps.Success() && !(ps.Exited() && slices.Contains(v.r.ExitOK, ps.ExitCode())):
		exit = &exec.ExitError{ProcessState: ps}
		errs = append(errs, exit)
	}
	if res.PipeHeld && v.cause == nil && v.r.Leftovers == KillLeftovers {
		errs = append(errs, ErrPipeHeld)
	}
	if stdinErr != nil {
		errs = append(errs, v.red.wrap(fmt.Errorf("reading Stdin: %w", stdinErr)))
	}
	if len(errs) > 0 {
		err := errs[0]
		for i, e := range errs[1:] {
			if i == 0 {
				err = fmt.Errorf("%w (%w)", err, e)
			} else {
				err = fmt.Errorf("%w; %w", err, e)
			}
			err = v.red.wrap(err)
		}
		v.err = newError(res, err, exit, v.red)
	}
	if v.r.Logger != nil {
		v.log(slog.LevelDebug, "exited", slog.String("reason", res.Reason.String()), slog.Int("code", res.ExitCode),
			slog.Duration("wall", res.Wall), slog.Int64("stdout", res.Stdout.Total()), slog.Int64("stderr", res.Stderr.Total()),
			slog.Bool("pipeHeld", res.PipeHeld))
	}
}

func (v *supervisor) cleanUp() {
	if v.child == nil {
		return
	}
	if err := v.child.close(v.leaving(), burial); err != nil {
		v.log(slog.LevelWarn, "cleaning up", slog.String("err", v.red.text(err.Error())))
	}
}
