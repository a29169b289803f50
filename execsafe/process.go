// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// A Process is a command that was started. Its methods may be called from many
// goroutines at once. It drains and reaps itself, and keeps its bounds, whether or
// not anybody waits for it.
type Process struct {
	r     Runner    // resolved: no zero means a default
	user  *exec.Cmd // the caller's; its Process and ProcessState are set
	red   redactor
	res   *Result
	err   error // with res, set before done is closed
	done  chan struct{}
	began time.Time

	child   *child     // nil if a Program plays it
	actor   *actor     // that Program
	streams [2]*stream // nil where the Cmd has a file of its own, or if combined
	stdin   *feeder    // nil if there is nothing to copy
	events  *events    // nil if nobody asked
	clock   *clock     // when output was last seen; shared by the stages of a Pipe

	locks  *writerLocks // of the Tees; shared likewise
	onStop func(error)  // for the other stages; may be nil

	exit    chan struct{} // closed once the child has exited
	drained chan *stream  // each stream, once it is not read any more
	causes  chan cause    // what others found; room for one, as the first one wins
	ending  chan struct{} // closed when the child has exited or is being stopped
	endedAt time.Time     // set before ending is closed
	over    chan struct{} // closed when nothing is waited for any more
	stopped atomic.Bool   // we are the reason that the child ends
}

// A cause is why a run was stopped, or failed.
type cause struct {
	reason Reason
	err    error
}

// A clock knows when output was last seen.
type clock struct {
	base time.Time
	last atomic.Int64 // nanoseconds after base
}

func (c *clock) touch()               { c.last.Store(int64(time.Since(c.base))) }
func (c *clock) quiet() time.Duration { return time.Since(c.base) - time.Duration(c.last.Load()) }

// Pid returns the process id of the child; 0 for a [Program].
func (p *Process) Pid() int {
	if p.child == nil {
		return 0
	}
	return p.child.pid
}

// Done returns a channel that is closed when the run is over and Wait returns at once.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the run is over and returns what [Runner.Run] would. It may be
// called any number of times, and gives each caller the same result and error.
func (p *Process) Wait() (*Result, error) {
	<-p.done
	return p.res, p.err
}

// Signal sends sig to the child's process group, or to the child alone if it leads
// none. It returns [os.ErrProcessDone] if nobody is left who could receive it, and
// never reaches a process that has taken over the number. A signal sent in this way
// is not a cause of its own: if it ends the child, the Reason is Signaled.
func (p *Process) Signal(sig os.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
	}
	if p.child == nil {
		return p.actor.signal(sig)
	}
	return p.child.signal(sig)
}

// Stop stops the command as the end of its context would, with [ErrStopped] and
// Reason Canceled, and waits until the run is over. It returns [os.ErrProcessDone]
// if it was over before. It must not be called from a Tee writer or OnEvent, which
// the run itself waits for.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
	}
	p.fail(Canceled, ErrStopped)
	<-p.done
	return nil
}

// fail tells the supervisor of a cause. The first one wins.
func (p *Process) fail(reason Reason, err error) {
	select {
	case p.causes <- cause{reason, err}:
	default:
	}
}

// patience returns how long a call of the caller's code may take from now on, which
// began at the given time, or would begin now if that is zero: Linger from there, or
// from when the run began to end. It is only asked once that has happened.
func (p *Process) patience(began time.Time) time.Duration {
	if began.IsZero() {
		return p.r.Linger
	}
	if began.Before(p.endedAt) {
		began = p.endedAt
	}
	return p.r.Linger - time.Since(began)
}

// heard notes that there was output.
func (p *Process) heard() {
	if p.r.Idle > 0 {
		p.clock.touch()
	}
	if p.events != nil {
		p.events.post(p.event(EventOutput))
	}
}

// leaving reports whether what still holds an output pipe is meant to live on.
func (p *Process) leaving() bool { return p.r.Leftovers == LeaveLeftovers && !p.stopped.Load() }

func (p *Process) event(kind EventKind) Event {
	e := Event{Kind: kind, Time: time.Now(), Args: p.res.Args, Pid: p.Pid()}
	if s := p.streams[FromStdout]; s != nil {
		e.Stdout = s.total.Load()
	}
	if s := p.streams[FromStderr]; s != nil {
		e.Stderr = s.total.Load()
	}
	return e
}

func (p *Process) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if l := p.r.Logger; l != nil && l.Enabled(context.Background(), level) {
		attrs = append([]slog.Attr{slog.String("cmd", commandLine(p.res.Args)), slog.Int("pid", p.Pid())}, attrs...)
		l.LogAttrs(context.Background(), level, "execsafe: "+msg, attrs...)
	}
}
