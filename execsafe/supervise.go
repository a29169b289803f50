// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// A supervisor is the one goroutine that decides over a run. All else only tells it
// what happened: the exit, the end of each drain, a failure. Its state is its own.
//
//	running   ── exit ──────────────▶ draining ── all drained, or Linger ──▶ over
//	   │ ctx, Timeout, Idle, fail        ▲
//	   ▼                                 │ exit
//	stopping (SIGTERM) ── Grace ──▶ killed ── Linger ──▶ over, dead or not
type supervisor struct {
	*Process
	ctx      context.Context
	draining int    // streams that are still being read
	exited   bool   // the child is dead
	gaveUp   bool   // it would not die
	limited  bool   // ending is closed
	cut      bool   // over is closed: streams read only what is there
	cause    *cause // what stopped or spoiled the run first
	late     *cause // what ended the wait for descendants' output
	heldUp   bool   // a Tee was holding the output up when the run was stopped
	killed   bool
	final    bool // nothing is waited for beyond the end alarm
	graceEnd time.Time

	timeout, idle, kill, end alarm
}

// An alarm is a timer that is mostly not set.
type alarm struct{ t *time.Timer }

func (a *alarm) set(d time.Duration) {
	if a.t == nil {
		a.t = time.NewTimer(d)
	} else {
		a.t.Reset(d)
	}
}

func (a *alarm) stop() {
	if a.t != nil {
		a.t.Stop()
	}
}

func (a *alarm) c() <-chan time.Time {
	if a.t == nil {
		return nil
	}
	return a.t.C
}

// serve starts the goroutines of a started child: one for each stream, one that
// waits for the exit, one that feeds it, and the supervisor.
func (p *Process) serve(ctx context.Context) {
	v := &supervisor{Process: p, ctx: ctx}
	if p.r.OnEvent != nil {
		p.events = startEvents(p)
		p.events.post(p.event(EventStarted))
	}
	p.log(slog.LevelDebug, "started")
	p.clock.touch()
	for _, s := range p.streams {
		if s != nil {
			v.draining++
			if s.feed != nil {
				s.feed.attach(p)
			}
			for _, t := range s.tees {
				t.start()
			}
			if s.ownedByLoop() {
				s.feed.own = s
			} else {
				go s.drain()
			}
		}
	}
	if p.stdin != nil {
		go p.stdin.run()
	}
	go func() {
		p.awaitExit()
		close(p.exit)
	}()
	go v.run()
}

func (v *supervisor) run() {
	if v.r.Timeout > 0 {
		v.timeout.set(v.r.Timeout - time.Since(v.began))
	}
	if v.r.Idle > 0 {
		v.idle.set(v.r.Idle)
	}
	exit, canceled := v.exit, v.ctx.Done()
	for v.draining > 0 || !v.exited && !v.gaveUp {
		select {
		case <-exit:
			exit = nil
			v.onExit()
		case s := <-v.drained:
			if !s.ended { // else left behind before
				s.ended = true
				v.draining--
			}
		case <-canceled:
			canceled = nil
			v.stop(cause{Canceled, context.Cause(v.ctx)})
		case <-v.timeout.c():
			v.stop(cause{TimedOut, fmt.Errorf("%w after %v", ErrTimeout, v.r.Timeout)})
		case <-v.idle.c():
			v.onIdle()
		case c := <-v.causes:
			v.onFailure(c)
		case <-v.kill.c():
			v.escalate()
		case <-v.end.c():
			v.onEnd()
		}
	}
	for _, a := range []*alarm{&v.timeout, &v.idle, &v.kill, &v.end} {
		a.stop()
	}
	select { // sent before the last drain ended
	case c := <-v.causes:
		v.onFailure(c)
	default:
	}
	v.conclude()
}

func (v *supervisor) onExit() {
	v.exited = true
	v.isEnding()
	switch {
	case v.late != nil:
		v.cutOff()
	case v.draining > 0 && !v.killed:
		v.end.set(v.r.Linger) // longer if members of the group have their Grace yet
	}
}

// isEnding has a Tee's Write take no longer than Linger from now on.
func (v *supervisor) isEnding() {
	if !v.limited {
		v.limited = true
		v.endedAt = time.Now()
		close(v.ending)
	}
}

// stop begins to end the tree. A child that has already exited by itself is not
// blamed for what comes later; only the wait for its descendants is cut short.
func (v *supervisor) stop(c cause) {
	if v.cause != nil || v.late != nil {
		return
	}
	if v.exited || v.hasExited() {
		v.late = &c
		if v.exited {
			v.cutOff()
		}
		return
	}
	v.begin(c)
}

func (v *supervisor) begin(c cause) {
	v.cause = &c
	v.stopped.Store(true)
	for _, s := range v.streams {
		v.heldUp = v.heldUp || s != nil && s.heldUp.Load() > 0
	}
	v.tell(EventStopping, c.reason)
	v.log(slog.LevelWarn, "stopping", slog.String("why", v.red.text(c.err.Error())))
	v.isEnding()
	if v.onStop != nil && (c.reason == OutputLimited || c.reason == WriterFailed) { // all else each stage finds itself
		v.onStop(c.err)
	}
	if v.r.Grace < 0 {
		v.killNow()
		return
	}
	v.terminate()
	v.graceEnd = time.Now().Add(v.r.Grace)
	v.kill.set(v.r.Grace)
}

// escalate ends the Grace of a tree that did not end, or whose leader did and
// left members behind that hold the output. If it is only a Tee that is slow, or the
// output is held from outside the group, there is nobody to kill.
func (v *supervisor) escalate() {
	if v.exited && (v.child == nil || v.child.members() == 0) {
		v.final = true
		v.end.set(v.r.Linger)
		return
	}
	v.tell(EventKilling, v.cause.reason)
	v.log(slog.LevelWarn, "killing", slog.Duration("grace", v.r.Grace))
	v.res.Escalated = true
	if v.exited && v.child != nil {
		v.res.Swept = max(v.child.members(), 0)
	}
	v.killNow()
}

func (v *supervisor) killNow() {
	v.killAll()
	v.killed, v.final = true, true
	v.end.set(v.r.Linger)
}

func (v *supervisor) onIdle() {
	for _, s := range v.streams {
		if s != nil && s.feeding.Load() { // the loop over Lines is slow, not the child
			v.clock.touch()
		}
	}
	if quiet := v.clock.quiet(); quiet < v.r.Idle {
		v.idle.set(v.r.Idle - quiet)
		return
	}
	for _, s := range v.streams {
		if s != nil && s.heldUp.Load() > 0 {
			v.onFailure(cause{WriterFailed, fmt.Errorf("%w: Tee: Write did not return for %v", ErrWriter, v.r.Idle)})
			return
		}
	}
	v.stop(cause{IdleTimedOut, fmt.Errorf("%w for %v", ErrIdle, v.r.Idle)})
}

// onFailure takes up what a stream, OnEvent or Stop told.
func (v *supervisor) onFailure(c cause) {
	switch {
	case c.reason == Canceled:
		v.stop(c)
	case v.cause == nil && v.exited:
		v.cause = &c
	case v.cause == nil:
		v.late = nil
		v.begin(c)
	case c.reason == WriterFailed && v.heldUp:
		// It was the writer for which the run took until it was stopped.
		v.heldUp = false
		v.cause = &cause{WriterFailed, fmt.Errorf("%w; %w", c.err, v.cause.err)}
	}
}

// onEnd ends the wait for output; and after a SIGKILL, that for the exit too.
func (v *supervisor) onEnd() {
	stopping := v.stopped.Load() && !v.final
	if stopping && v.child != nil && v.child.members() > 0 {
		return // escalate follows
	}
	if stopping || v.cause == nil && v.late == nil {
		v.interrupt() // Tee writers still get Linger for each Write
		return
	}
	v.gaveUp = !v.exited
	v.cutOff()
}

// cutOff ends the wait for output and for Tee writers.
func (v *supervisor) cutOff() {
	if !v.cut {
		v.cut = true
		close(v.over)
	}
	v.interrupt()
}

func (v *supervisor) interrupt() {
	for _, s := range v.streams {
		if s == nil || s.ended || s.interrupt() {
			continue
		}
		s.held.Store(true) // and left behind in its Read
		s.ended = true
		v.draining--
	}
}

func (v *supervisor) tell(kind EventKind, reason Reason) {
	if v.events != nil {
		e := v.event(kind)
		e.Reason = reason
		v.events.post(e)
	}
}
