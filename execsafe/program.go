// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// An actor is a child that is played by a [Program]. It has the same life: it is
// asked to end through its context, and killed by no longer being listened to.
type actor struct {
	ask    context.CancelFunc
	killed chan struct{} // closed by kill
	once   sync.Once
	ended  chan struct{} // closed when the program has returned state
	state  *os.ProcessState
}

func (p *Process) launchProgram(ctx context.Context, cmd *exec.Cmd, o options) error {
	c := *cmd
	run, err := p.r.Program(&c)
	if err != nil {
		return p.red.err(err)
	}
	if run == nil {
		return fmt.Errorf("%w: Program returned neither a function nor an error", ErrInvalid)
	}
	p.user = cmd
	pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &actor{ask: cancel, killed: make(chan struct{}), ended: make(chan struct{})}
	p.actor = a

	var outs [2]io.Writer
	for src, w := range []io.Writer{c.Stdout, c.Stderr} {
		switch src := Source(src); {
		case w != nil:
			outs[src] = w
		case src == FromStdout && o.stdout != nil:
			outs[src] = o.stdout
		case src == FromStderr && p.r.Combined:
			outs[src] = outs[FromStdout]
		default:
			outs[src] = &streamWriter{s: p.newStream(src, o), exit: p.exit}
		}
	}
	p.serve(ctx)
	go func() {
		defer close(a.ended)
		defer cancel()
		if o.stdout != nil {
			defer o.stdout.Close()
		}
		if o.stdin != nil {
			defer o.stdin.Close() // breaks the pipe for the stage before
		}
		a.state = run(pctx, outs[FromStdout], outs[FromStderr])
	}()
	return nil
}

// The supervisor sees one or the other.

func (p *Process) awaitExit() {
	if p.child == nil {
		p.actor.wait()
	} else {
		p.child.wait()
	}
}

func (p *Process) hasExited() bool {
	if p.child == nil {
		return p.actor.exited()
	}
	return p.child.exited()
}

func (p *Process) terminate() {
	if p.child == nil {
		p.actor.ask()
	} else {
		_ = p.child.terminate()
	}
}

func (p *Process) killAll() {
	if p.child == nil {
		p.actor.kill()
	} else {
		_ = p.child.killAll()
	}
}

func (a *actor) wait() {
	select {
	case <-a.ended:
	case <-a.killed:
	}
}

func (a *actor) exited() bool {
	select {
	case <-a.ended:
		return true
	case <-a.killed:
		return true
	default:
		return false
	}
}

func (a *actor) kill() { a.once.Do(func() { close(a.killed) }) }

func (a *actor) signal(sig os.Signal) error {
	switch {
	case a.exited():
		return os.ErrProcessDone
	case sig == os.Kill:
		a.kill()
	case sig == os.Interrupt, sig == os.Signal(syscall.SIGTERM):
		a.ask()
	}
	return nil
}

// reap returns how the program ended; nil if it was killed.
func (a *actor) reap() *os.ProcessState {
	select {
	case <-a.ended:
		if a.state == nil {
			return &os.ProcessState{} // exit status 0
		}
		return a.state
	default:
		return nil
	}
}

// A streamWriter is the program's end of a stream that has no pipe.
type streamWriter struct {
	s    *stream
	exit <-chan struct{}
}

func (w *streamWriter) Write(p []byte) (n int, err error) {
	w.s.programs.Lock()
	defer w.s.programs.Unlock()
	buf := newChunk()
	defer freeChunk(buf)
	for n < len(p) {
		select {
		case <-w.exit: // killed
			return n, io.ErrClosedPipe
		default:
		}
		k := copy(buf, p[n:])
		w.s.took(buf[:k])
		n += k
	}
	return n, nil
}
