// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

const exitSIGPIPE = 128 + 13 // how a shell reports that its command died of SIGPIPE

// errSibling stops the stages of a pipeline of which another one was stopped.
type errSibling struct{ err error }

func (e *errSibling) Error() string { return "another stage of the pipeline: " + e.err.Error() }
func (e *errSibling) Unwrap() error { return e.err }

// Pipe runs cmds as a pipeline: each one's stdout is the next one's stdin, through
// a pipe between the two that this process takes no part in. The stdin of the first
// is its own; the stdout of the last, and the stderr of each, go to Runner.Stdout
// and Runner.Stderr. Combined applies to the last stage, Idle to the output of all
// stages together, and every other bound to each stage. Each stage leads its own
// process group. When one stage is stopped, all are.
//
// The pipeline fails if any stage does, except that a stage before the last may die
// of SIGPIPE (or exit with 141, as shells report it): its reader had enough. The
// earliest other failure is blamed. The Result is that of the stage to blame, or of
// the last, but with the last one's Stdout; Wall is that of the whole, User, System
// and Swept are sums. Stages has the result of each.
func (r Runner) Pipe(ctx context.Context, cmds ...*exec.Cmd) (*Result, error) {
	began := time.Now()
	red := newRedactor(r.Redact)
	if err := checkPipe(ctx, cmds); err != nil {
		res := &Result{Stdout: &Output{}, Stderr: &Output{}, ExitCode: -1, Start: began, Reason: StartFailed}
		return res, newError(res, err, nil, red)
	}
	r = r.shared(len(cmds))
	sys := r.sys
	if sys == nil {
		sys = &realSystem
	}
	pctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		stages = make([]stage, len(cmds))
		clk    = &clock{base: began}
		locks  = new(writerLocks)
		in     io.ReadCloser
		failed bool
		wg     sync.WaitGroup
	)
	for i, cmd := range cmds {
		st := &stages[i]
		c := *cmd
		o := options{clock: clk, locks: locks, onStop: func(err error) { cancel(&errSibling{err}) }}
		rs := r
		last := i == len(cmds)-1
		rs.Combined = r.Combined && last
		var out io.Closer
		if in != nil {
			c.Stdin = in
			if r.Program != nil {
				o.stdin = in
			}
		}
		prev := in
		in = nil
		if !last && !failed {
			in, out, o.broken = connect(&c, &o, sys, r.Program != nil)
		}
		p, err := rs.start(pctx, &c, o)
		st.p = p
		if r.Program == nil || err != nil { // a Program keeps its ends until it returns
			for _, f := range []io.Closer{prev, out} {
				if f != nil {
					_ = f.Close()
				}
			}
		}
		if err != nil {
			failed = true
			cancel(&errSibling{err})
			continue
		}
		cmd.Process = c.Process
		wg.Go(func() {
			if res, err := p.Wait(); res.Reason != Exited && res.Reason != Signaled {
				cancel(&errSibling{err})
			}
			cmd.ProcessState = c.ProcessState
		})
	}
	if in != nil {
		_ = in.Close()
	}
	wg.Wait()
	return sum(stages, began, red)
}

type stage struct{ p *Process }

// checkPipe finds what would take a stage's place in the pipeline.
func checkPipe(ctx context.Context, cmds []*exec.Cmd) error {
	if ctx == nil {
		return fmt.Errorf("%w: nil context", ErrInvalid)
	}
	if len(cmds) == 0 {
		return fmt.Errorf("%w: a pipeline of no commands", ErrInvalid)
	}
	for i, cmd := range cmds {
		switch {
		case cmd == nil:
			return fmt.Errorf("%w: stage %d: nil *exec.Cmd", ErrInvalid, i+1)
		case i > 0 && cmd.Stdin != nil:
			return fmt.Errorf("%w: stage %d: Stdin is set, but is the pipe", ErrInvalid, i+1)
		case i < len(cmds)-1 && cmd.Stdout != nil:
			return fmt.Errorf("%w: stage %d: Stdout is set, but is the pipe", ErrInvalid, i+1)
		}
		if slices.Contains(cmds[:i], cmd) {
			return fmt.Errorf("stage %d: %w", i+1, ErrStarted)
		}
	}
	return nil
}

// connect makes the pipe between c and the stage after it.
func connect(c *exec.Cmd, o *options, sys *system, program bool) (in io.ReadCloser, out io.Closer, err error) {
	if program {
		rd, wr := io.Pipe()
		o.stdout = wr
		return rd, wr, nil
	}
	rd, wr, err := sys.pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	c.Stdout = wr
	return rd, wr, nil
}

// shared makes r fit for several stages at once.
func (r Runner) shared(n int) Runner {
	if onEvent := r.OnEvent; onEvent != nil && n > 1 {
		var mu sync.Mutex
		r.OnEvent = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			onEvent(e)
		}
	}
	return r
}

// sum makes one result of all stages'.
func sum(stages []stage, began time.Time, red redactor) (*Result, error) {
	last := len(stages) - 1
	blamed := -1
	res := *stages[last].p.res
	res.User, res.System, res.MaxRSS, res.Swept = 0, 0, 0, 0
	for i, st := range stages {
		sr := st.p.res
		if blamed < 0 && st.p.err != nil && !excused(st.p, i == last) {
			blamed = i
		}
		res.Stages = append(res.Stages, sr)
		res.User += sr.User
		res.System += sr.System
		res.Swept += sr.Swept
		res.MaxRSS = max(res.MaxRSS, sr.MaxRSS)
		res.PipeHeld = res.PipeHeld || sr.PipeHeld
		res.Escalated = res.Escalated || sr.Escalated
	}
	res.Start, res.Wall = began, time.Since(began)
	if blamed < 0 {
		return &res, nil
	}
	b := stages[blamed].p
	res.Args, res.Dir, res.Stderr = b.res.Args, b.res.Dir, b.res.Stderr
	res.ExitCode, res.Signal, res.Reason = b.res.ExitCode, b.res.Signal, b.res.Reason
	err := b.err
	if e, ok := errors.AsType[*Error](err); ok {
		err = e.Err
	}
	return &res, newError(&res, red.wrap(fmt.Errorf("stage %d of %d: %w", blamed+1, len(stages), err)), nil, red)
}

// excused reports whether a stage failed only because of another.
func excused(p *Process, last bool) bool {
	if _, ok := errors.AsType[*errSibling](p.err); ok && p.res.Reason == Canceled {
		return true
	}
	return !last && (p.res.Reason == Signaled && p.res.Signal == os.Signal(syscall.SIGPIPE) ||
		p.res.Reason == Exited && p.res.ExitCode == exitSIGPIPE)
}
