// SPDX-License-Identifier: MIT

// Package execsafetest plays commands, so that code which runs them can be tested
// without starting a process.
//
// A [Script] has the methods of an [execsafe.Runner]. Code under test asks for an
// interface with the methods that it needs, gets a Runner in production and a Script
// in a test:
//
//	type runner interface {
//		Run(ctx context.Context, cmd *exec.Cmd) (*execsafe.Result, error)
//	}
//
// # Guarantees
//
//   - Captures, Tee, Lines, Pipe, Timeout, Idle, Redact, OnEvent and all errors are
//     the real ones: a Script is a Runner whose [execsafe.Runner.Program] reads its
//     part from the steps. errors.Is and errors.As find what they would find, the
//     [exec.ExitError] included, except after a SIGKILL.
//   - A command that no step expects fails the test, and so does a step that is not
//     used.
//
// # What it does not do
//
// There is no process: Pid is 0, there is no CPU time, no group and nothing to sweep,
// and the Runner's Cgroup, Foreground and DieWithParent have no effect. Nothing looks
// whether the program exists.
//
// # Platforms
//
// All.
package execsafetest

import (
	"context"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/execsafe"
)

// A Step is a command that is expected, and how it behaves.
type Step struct {
	// Args is what is expected: the arguments of the Cmd, where Args[0] may be the
	// program's path or its base name. A last element "..." stands for any further
	// arguments; nil, for any command.
	Args []string
	// Times is how often the step may be used. 0: once; negative: any number of times,
	// none included.
	Times int

	Stdout, Stderr string
	ExitCode       int
	// Delay passes between Stdout, Stderr and the exit. A command that is stopped
	// meanwhile ends at once, as if of SIGTERM.
	Delay time.Duration
	// IgnoreTERM has the command sit out its Delay nevertheless, or until SIGKILL.
	IgnoreTERM bool
	// StartErr keeps the command from starting.
	StartErr error
	// Func, if not nil, plays the command in place of all the above: it gets the
	// Cmd, reads stdin, writes, and returns the exit code. It should return when ctx
	// is done.
	Func func(ctx context.Context, cmd *exec.Cmd, stdin io.Reader, stdout, stderr io.Writer) int
}

// A Call is a command that was run.
type Call struct {
	Args  []string
	Dir   string
	Env   []string // as in the Cmd
	Stdin string   // all of it, read before the command behaves; empty with Func
}

// TB is what a Script needs of [testing.TB].
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(func())
}

// A Script is a Runner that plays its Steps. Each command takes the first step that
// matches it and is not used up. Its methods may be called from many goroutines at
// once; its fields must not change after the first call.
type Script struct {
	// Runner holds the bounds that the commands run under. Its Program is not used.
	Runner execsafe.Runner
	Steps  []Step

	t     TB
	mu    sync.Mutex
	used  []int
	calls []Call
}

// New returns a Script of the given steps. It fails t for a command that matches
// none, and at the end of the test for a step that was not used.
func New(t TB, steps ...Step) *Script {
	s := &Script{Steps: steps, t: t}
	t.Cleanup(func() {
		t.Helper()
		for i, st := range s.Steps {
			if n := s.uses(i); st.Times >= 0 && n < max(st.Times, 1) {
				t.Errorf("execsafetest: step %d (%s) was used %d times, want %d", i+1, show(st.Args), n, max(st.Times, 1))
			}
		}
	})
	return s
}

// Run plays cmd; see [execsafe.Runner.Run].
func (s *Script) Run(ctx context.Context, cmd *exec.Cmd) (*execsafe.Result, error) {
	return s.runner().Run(ctx, cmd)
}

// Start plays cmd; see [execsafe.Runner.Start].
func (s *Script) Start(ctx context.Context, cmd *exec.Cmd) (*execsafe.Process, error) {
	return s.runner().Start(ctx, cmd)
}

// Lines plays cmd; see [execsafe.Runner.Lines].
func (s *Script) Lines(ctx context.Context, cmd *exec.Cmd) iter.Seq2[execsafe.Line, error] {
	return s.runner().Lines(ctx, cmd)
}

// Pipe plays cmds, connected in memory; see [execsafe.Runner.Pipe].
func (s *Script) Pipe(ctx context.Context, cmds ...*exec.Cmd) (*execsafe.Result, error) {
	return s.runner().Pipe(ctx, cmds...)
}

// Calls returns the commands so far, in the order of their starts.
func (s *Script) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *Script) uses(i int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.used) {
		return 0
	}
	return s.used[i]
}

func (s *Script) runner() execsafe.Runner {
	r := s.Runner
	r.Program = s.program
	return r
}

func (s *Script) program(cmd *exec.Cmd) (func(context.Context, io.Writer, io.Writer) *os.ProcessState, error) {
	step, call, ok := s.take(cmd)
	if !ok {
		if s.t != nil {
			s.t.Helper()
			s.t.Errorf("execsafetest: unexpected command: %s", show(cmd.Args))
		}
		return nil, &exec.Error{Name: cmd.Path, Err: exec.ErrNotFound}
	}
	if step.StartErr != nil {
		return nil, step.StartErr
	}
	return func(ctx context.Context, stdout, stderr io.Writer) *os.ProcessState {
		stdin := cmd.Stdin
		if stdin == nil {
			stdin = strings.NewReader("")
		}
		if step.Func != nil {
			return exitState(step.Func(ctx, cmd, stdin, stdout, stderr))
		}
		return s.play(ctx, step, call, stdin, stdout, stderr)
	}, nil
}

// take finds the step for cmd and records the call.
func (s *Script) take(cmd *exec.Cmd) (step Step, call int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		s.used = make([]int, len(s.Steps))
	}
	s.calls = append(s.calls, Call{Args: slices.Clone(cmd.Args), Dir: cmd.Dir, Env: slices.Clone(cmd.Env)})
	for i, st := range s.Steps {
		if matches(st.Args, cmd) && (st.Times < 0 || s.used[i] < max(st.Times, 1)) {
			s.used[i]++
			return st, len(s.calls) - 1, true
		}
	}
	return Step{}, 0, false
}

func (s *Script) play(ctx context.Context, step Step, call int, stdin io.Reader, stdout, stderr io.Writer) *os.ProcessState {
	stop := ctx.Done()
	if step.IgnoreTERM {
		stop = nil
	}
	input := make(chan string, 1)
	go func() { // as it may never end
		in, _ := io.ReadAll(stdin)
		input <- string(in)
	}()
	select {
	case in := <-input:
		s.mu.Lock()
		s.calls[call].Stdin = in
		s.mu.Unlock()
	case <-stop:
		if c, ok := stdin.(io.Closer); ok {
			_ = c.Close()
		}
		return terminated()
	}
	if write(stdout, step.Stdout) != nil || write(stderr, step.Stderr) != nil {
		return brokenPipe()
	}
	if step.Delay > 0 {
		timer := time.NewTimer(step.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-stop:
			return terminated()
		}
	}
	return exitState(step.ExitCode)
}

// write writes s if there is any: to a pipe, an empty write would wait for a reader.
func write(w io.Writer, s string) error {
	if s == "" {
		return nil
	}
	_, err := io.WriteString(w, s)
	return err
}

func matches(want []string, cmd *exec.Cmd) bool {
	if want == nil {
		return true
	}
	got := cmd.Args
	if len(got) == 0 {
		got = []string{cmd.Path}
	}
	if n := len(want); n > 0 && want[n-1] == "..." {
		want = want[:n-1]
		got = got[:min(len(got), len(want))]
	}
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != want[i] && (i > 0 || filepath.Base(got[0]) != want[0]) {
			return false
		}
	}
	return true
}

func show(args []string) string {
	if args == nil {
		return "any command"
	}
	return strings.Join(args, " ")
}
