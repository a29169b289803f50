// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"time"
)

const (
	defaultGrace   = 2 * time.Second
	defaultLinger  = 250 * time.Millisecond
	defaultMaxLine = 1 << 20
	linesTail      = 32 << 10 // kept by Lines, for the text of an error
)

// options are what Lines and Pipe need beside the Runner.
type options struct {
	feed   *feed        // where the lines go
	clock  *clock       // shared by the stages of a Pipe
	locks  *writerLocks // too
	broken error        // why a stage cannot start
	onStop func(error)  // told of a failure of the stage's own, as soon as it is being stopped
	stdin  io.Closer    // the ends of the pipes beside a stage that a Program plays
	stdout io.WriteCloser
}

// start checks everything, makes the pipes, starts the child, and then the
// goroutines that serve it. On error, the Process has only a result.
func (r Runner) start(ctx context.Context, cmd *exec.Cmd, o options) (*Process, error) {
	now := time.Now()
	p := &Process{
		red:     newRedactor(r.Redact),
		began:   now,
		done:    make(chan struct{}),
		exit:    make(chan struct{}),
		ending:  make(chan struct{}),
		over:    make(chan struct{}),
		causes:  make(chan cause, 1),
		drained: make(chan *stream, 4),
		clock:   o.clock,
		locks:   o.locks,
		onStop:  o.onStop,
		res:     &Result{Stdout: &Output{}, Stderr: &Output{}, ExitCode: -1, Start: now, Reason: StartFailed, combined: r.Combined},
	}
	if p.clock == nil {
		p.clock = &clock{base: now}
	}
	if p.locks == nil {
		p.locks = new(writerLocks)
	}
	err := p.launch(ctx, cmd, r, o)
	if err == nil {
		return p, nil
	}
	if ctx != nil && ctx.Err() != nil && err == context.Cause(ctx) {
		p.res.Reason = Canceled
	}
	p.res.Wall = time.Since(now)
	p.err = newError(p.res, p.red.err(err), nil, p.red)
	p.log(slog.LevelWarn, "did not start", slog.String("err", p.err.Error()))
	close(p.done)
	return p, p.err
}

func (p *Process) launch(ctx context.Context, cmd *exec.Cmd, r Runner, o options) (err error) {
	p.r = r
	if cmd == nil {
		return fmt.Errorf("%w: nil *exec.Cmd", ErrInvalid)
	}
	args := cmd.Args
	if len(args) == 0 {
		args = []string{cmd.Path}
	}
	p.res.Args, p.res.Dir = p.red.args(args), p.red.text(cmd.Dir)
	if ctx == nil {
		return fmt.Errorf("%w: nil context", ErrInvalid)
	}
	if err := p.resolve(r, o); err != nil {
		return err
	}
	if err := check(cmd); err != nil {
		return err
	}
	if o.broken != nil {
		return o.broken
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if r.Program != nil {
		return p.launchProgram(ctx, cmd, o)
	}
	// Everything opened from here on is either handed over or closed.
	c := *cmd
	var ours, theirs []*os.File
	defer func() {
		closeAll(theirs)
		if err != nil {
			closeAll(ours)
		}
	}()
	pipe := func() (rd, wr *os.File, err error) {
		if rd, wr, err = p.r.sys.pipe(); err != nil {
			err = fmt.Errorf("making a pipe: %w", err)
		}
		return rd, wr, err
	}
	if _, isFile := c.Stdin.(*os.File); c.Stdin != nil && !isFile {
		rd, wr, err := pipe()
		if err != nil {
			return err
		}
		theirs, ours = append(theirs, rd), append(ours, wr)
		p.stdin = &feeder{src: c.Stdin, pipe: wr, done: make(chan struct{})}
		c.Stdin = rd
	}
	for src, w := range []*io.Writer{&c.Stdout, &c.Stderr} {
		src := Source(src)
		if *w != nil {
			continue // a file of the caller's
		}
		if src == FromStderr && r.Combined {
			c.Stderr = c.Stdout
			continue
		}
		rd, wr, err := pipe()
		if err != nil {
			return err
		}
		theirs, ours = append(theirs, wr), append(ours, rd)
		*w = wr
		s := p.newStream(src, o)
		s.file = rd
		if s.raw, err = rd.SyscallConn(); err != nil {
			return err
		}
		s.polled = interrupts && rd.SetReadDeadline(time.Time{}) == nil
	}
	if c.Cancel != nil { // the Cmd has a context of its own
		c.Cancel = func() error {
			err := context.Canceled
			if ctx.Err() != nil { // most often it is the same one
				err = context.Cause(ctx)
			}
			p.fail(Canceled, err)
			return nil
		}
	}
	leader, cg, err := prepare(&c, &p.r)
	if err != nil {
		return err
	}
	started, err := p.startProcess(ctx, &c)
	if err != nil {
		if cg != nil {
			_ = cg.close(false, time.Second)
		}
		return err
	}
	cmd.Process = started.Process
	p.user = cmd
	p.child = newChild(started, p.r.sys, leader, cg)
	p.serve(ctx)
	return nil
}

// resolve puts the defaults into r and checks it.
func (p *Process) resolve(r Runner, o options) (err error) {
	switch {
	case r.Timeout < 0:
		return fmt.Errorf("%w: Runner.Timeout is negative", ErrInvalid)
	case r.Idle < 0:
		return fmt.Errorf("%w: Runner.Idle is negative", ErrInvalid)
	case r.MaxLine < 0:
		return fmt.Errorf("%w: Runner.MaxLine is negative", ErrInvalid)
	case r.Leftovers != KillLeftovers && r.Leftovers != LeaveLeftovers:
		return fmt.Errorf("%w: Runner.Leftovers: %v", ErrInvalid, r.Leftovers)
	}
	def := All(defaultLimit)
	if o.feed != nil {
		def = Tail(linesTail)
	}
	if r.Stdout, err = r.Stdout.resolve("Stdout", def); err != nil {
		return err
	}
	if r.Stderr, err = r.Stderr.resolve("Stderr", def); err != nil {
		return err
	}
	if r.Grace == 0 {
		r.Grace = defaultGrace
	}
	if r.Linger == 0 {
		r.Linger = defaultLinger
	}
	r.Linger = max(r.Linger, 0)
	if r.sys == nil {
		r.sys = &realSystem
	}
	p.r = r
	return nil
}

// check finds out what cannot work before anything is opened.
func check(cmd *exec.Cmd) error {
	switch {
	case cmd.Process != nil:
		return ErrStarted
	case cmd.Path == "" && cmd.Err == nil:
		return fmt.Errorf("%w: empty Path", ErrInvalid)
	case hasPipes(cmd):
		return fmt.Errorf("%w: StdinPipe, StdoutPipe or StderrPipe was called", ErrInvalid)
	}
	for src, w := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		if _, isFile := w.(*os.File); w != nil && !isFile {
			name := [...]string{"Stdout", "Stderr"}[src]
			return fmt.Errorf("%w: Cmd.%s is set; use Runner.%[2]s and Capture.Tee", ErrInvalid, name)
		}
	}
	return checkNUL(cmd)
}

// hasPipes reports whether one of cmd's Pipe methods was called. That shows in an
// unexported field only; where it is missing, nothing is found.
func hasPipes(cmd *exec.Cmd) bool {
	f := reflect.ValueOf(cmd).Elem().FieldByName("parentIOPipes")
	return f.IsValid() && f.Kind() == reflect.Slice && f.Len() > 0
}

func (p *Process) newStream(src Source, o options) *stream {
	c := p.r.Stdout
	if src == FromStderr {
		c = p.r.Stderr
	}
	s := &stream{p: p, src: src, store: newStore(c, p.r.sys), feed: o.feed}
	for _, w := range c.tees {
		t := &tee{w: w, lock: p.locks.of(w), patience: p.patience, hurry: p.ending, cut: p.over}
		t.fail = func(err error) { p.fail(WriterFailed, err) }
		t.busy = func(b bool) {
			if b {
				s.heldUp.Add(1)
			} else {
				s.heldUp.Add(-1)
			}
		}
		s.tees = append(s.tees, t)
	}
	p.streams[src] = s
	return s
}

// startProcess starts c, in this goroutine, whose thread's state the child inherits;
// or, if the child is to die with the thread that starts it, in one that stays.
func (p *Process) startProcess(ctx context.Context, c *exec.Cmd) (*exec.Cmd, error) {
	if !p.r.DieWithParent {
		return startRetrying(ctx, p.r.sys, c, p.red)
	}
	type outcome struct {
		cmd *exec.Cmd
		err error
	}
	result := make(chan outcome)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd, err := startRetrying(ctx, p.r.sys, c, p.red)
		result <- outcome{cmd, err}
		if err == nil {
			<-p.exit
		}
	}()
	o := <-result
	return o.cmd, o.err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
