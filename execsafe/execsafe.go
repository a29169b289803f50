// SPDX-License-Identifier: MIT

// Package execsafe runs commands: it reads what they write while they run, and
// only then waits for them.
//
// [Run] takes an [exec.Cmd] and gives back a [Result] with the output, the exit
// and the cost of the run, whether it succeeded or not. A [Runner] sets bounds:
// on time, on silence, on memory, and on what may be left behind.
//
// # Guarantees
//
//   - Both streams are read from the start on, each apart from the other, whether
//     or not anybody waits: a child cannot block on a full pipe because of us.
//   - A call that has to stop its command (Timeout, Idle, context, output limit)
//     returns within Grace + Linger of that moment, and any other call within
//     Linger of the child's exit (and 100 ms if a process that was killed is slow to
//     be gone), even if a descendant holds the pipe, if the Stdin reader, a
//     [Capture.Tee] writer or OnEvent never returns, or if the child ignores
//     SIGTERM. A Tee writer that never returns holds a call up only while the child
//     lives and nothing stops it; one that is slow, but returns within Linger each
//     time, gets the rest of the output, unless the call had to be stopped.
//   - What the child wrote before it exited is in the result, up to the bounds of
//     its [Capture]. What a Capture leaves out is counted, to the byte.
//   - The child leads its own process group. Signals go to that group, and never
//     to a stranger that has inherited its number.
//   - Nothing global is touched: no signal handler, no subreaper, no wait for any
//     child. There are no package-level goroutines, timers or channels.
//   - A run holds no thread while it waits, and no buffer while the child is silent.
//     While it writes, each stream takes 64 KiB beyond what its Capture keeps, and
//     128 KiB for each Tee; a loop over Lines, its unfinished lines. Buffers that no
//     run needs any more are shared by all, and collected as garbage.
//
// # What it does not do
//
// A descendant that leaves the process group (setsid) survives unless
// [Runner.Cgroup] contains it. A goroutine inside a Stdin reader, a Tee writer or
// OnEvent that never returns cannot be ended, only abandoned. The Logger's handler
// and the directory of a [Spill] are trusted not to block. There are no
// pseudo-terminals.
//
// # Platforms
//
// Linux is complete. Where the kernel has no pidfd (before 5.4), a run holds a
// thread while it waits; where pidfds cannot signal groups (before 6.9), the group
// is signalled while its leader is held unreaped. Other Unix systems have process
// groups too, but the leader is reaped as it exits, and Result.Swept counts only
// whether there was something to sweep. On Windows only the child itself is
// stopped, at once, and a read that is held up is abandoned. Cgroup and
// DieWithParent exist on Linux only; elsewhere they give [errors.ErrUnsupported].
package execsafe

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"time"
)

// What can stop or spoil a run. Each is found in the chain of an [Error].
var (
	ErrTimeout     = errors.New("timed out")
	ErrIdle        = errors.New("no output")
	ErrOutputLimit = errors.New("output limit exceeded")
	// ErrPipeHeld: a descendant kept an output pipe open for longer than Linger
	// after the child had exited, and was cut off.
	ErrPipeHeld = errors.New("output pipe still held after exit")
	// ErrWriter: a Tee writer failed or did not return, the file behind a Spill
	// could not be written, or OnEvent did not return.
	ErrWriter = errors.New("writer failed")
	// ErrStopped: [Process.Stop] was called, or the body of a [Lines] loop left it.
	ErrStopped = errors.New("stopped by its caller")
	// ErrInvalid: the Cmd or the Runner cannot be used; nothing was started.
	ErrInvalid = errors.New("invalid command")
	// ErrStarted: the Cmd has been started before. It is also an ErrInvalid.
	ErrStarted error = new(startedError)
	// ErrNoStatus: somebody else took the exit status, by waiting for any child
	// or by ignoring SIGCHLD.
	ErrNoStatus = errors.New("exit status was taken by somebody else")
)

type startedError struct{}

func (*startedError) Error() string { return "already started" }
func (*startedError) Unwrap() error { return ErrInvalid }

// Leftovers says what happens to the members of the child's process group that
// are alive after it exited by itself.
type Leftovers int

const (
	KillLeftovers  Leftovers = iota // SIGKILL, at once; after Linger if they hold an output pipe
	LeaveLeftovers                  // they live on, and what they still write is discarded
)

// A Runner holds the bounds of a run. The zero Runner is ready to use, and what
// the functions of this package use. A Runner is not changed by its methods, which
// may be called from many goroutines at once.
type Runner struct {
	// Timeout bounds the whole call, exit and drain. 0: no bound. See [ErrTimeout].
	Timeout time.Duration
	// Idle stops a command that has written nothing for this long. 0: no bound.
	// Time in which a slow reader holds the output up does not count, but a Tee
	// writer that does not return for this long fails the run. Output that the Cmd
	// sends to an [os.File] is not seen. See [ErrIdle].
	Idle time.Duration
	// Grace lies between SIGTERM (then SIGCONT) and SIGKILL. 0: 2 s; negative:
	// SIGKILL at once.
	Grace time.Duration
	// Linger is how long, after the child's exit, output is awaited that
	// descendants still hold open, and how long a single Write of a Tee may take
	// once the run is over. 0: 250 ms; negative: none.
	Linger time.Duration
	// Stdout and Stderr say how much of each stream is kept. Zero: All(64 MiB);
	// under [Runner.Lines] Tail(32 KiB). They do not apply to a stream that the
	// Cmd sends to an [os.File].
	Stdout, Stderr Capture
	// Combined puts both streams on one pipe, in exact order, into Result.Stdout. The
	// Capture that counts is Stdout, with its Tees.
	Combined bool
	// MaxLine is the longest line that Lines yields whole, in bytes. 0: 1 MiB.
	MaxLine int
	// Leftovers decides over group members alive after the child's exit.
	Leftovers Leftovers
	// Foreground leaves the child in the caller's process group, where it may read
	// the terminal. Then only the child itself is signalled, nothing is swept.
	Foreground bool
	// Cgroup is a delegated cgroup v2 directory (Linux 5.14). Each run gets a
	// cgroup of its own in it, and whatever is left in there at the end is killed,
	// even if it has left the process group.
	Cgroup string
	// DieWithParent has the kernel kill the child (not its descendants) when this
	// process dies. Such a run holds one thread, from which the child is started.
	// Linux only.
	DieWithParent bool
	// ExitOK lists exit codes that are no error, beside 0.
	ExitOK []int
	// Redact lists secrets. Each is replaced by "[redacted]" in error texts, log
	// lines, events, Result.Args and Result.Dir. Captured output is left alone.
	Redact []string
	// Logger gets the start and end of each run at level Debug, and what was
	// stopped, swept or cut off at level Warn. Nil: silent.
	Logger *slog.Logger
	// OnEvent is called from one goroutine of the run's own, never concurrently
	// with itself. Progress is merged while it is busy. A call that does not return
	// is abandoned like a Tee.
	OnEvent func(Event)
	// Program, if not nil, is called in place of starting a process; see [Program].
	Program Program

	sys *system // nil: the real one
}

// A Program plays a child inside this process, so that code can be tested without
// one; package execsafetest has a ready-made one. It returns an error if it would
// not start, and otherwise the function that is the running child: it writes to
// stdout and stderr, returns early if ctx is done, which stands for SIGTERM, and
// returns how it ended. The function is called once, in a goroutine of its own. If
// it does not return after Grace, it is abandoned as if killed.
type Program func(cmd *exec.Cmd) (run func(ctx context.Context, stdout, stderr io.Writer) *os.ProcessState, err error)

// Run runs cmd with the zero [Runner]. See [Runner.Run].
func Run(ctx context.Context, cmd *exec.Cmd) (*Result, error) { return Runner{}.Run(ctx, cmd) }

// Start starts cmd with the zero [Runner]. See [Runner.Start].
func Start(ctx context.Context, cmd *exec.Cmd) (*Process, error) { return Runner{}.Start(ctx, cmd) }

// Lines runs cmd with the zero [Runner]. See [Runner.Lines].
func Lines(ctx context.Context, cmd *exec.Cmd) iter.Seq2[Line, error] {
	return Runner{}.Lines(ctx, cmd)
}

// Pipe runs cmds with the zero [Runner]. See [Runner.Pipe].
func Pipe(ctx context.Context, cmds ...*exec.Cmd) (*Result, error) {
	return Runner{}.Pipe(ctx, cmds...)
}

// Run runs cmd to its end and returns what it wrote and how it ended.
//
// Cmd.Stdin is fed to the child: a nil Stdin is the null device, an [os.File] is
// passed as it is, and anything else is copied through a pipe. If its Read has not
// returned when the run is over, it is closed if it is an [io.Closer], and in any
// case no longer waited for. A child that does not read its input is no error.
// Cmd.Stdout and Cmd.Stderr must be nil, or an [os.File] that the child gets
// directly; to copy output elsewhere, use [Capture.Tee]. Cmd.Env, Dir, ExtraFiles
// and SysProcAttr mean what they mean to os/exec. If cmd was made by
// [exec.CommandContext], the end of its context stops the tree too, and is
// reported as [context.Canceled]; better, give the context to Run. Run works on a
// copy of cmd and sets only cmd.Process and cmd.ProcessState.
//
// The result is never nil. The error is nil if the command exited with 0 or a code
// in ExitOK, by itself, and all that it wrote was read. Otherwise it is an [*Error] that wraps what
// came first: [context.Cause], [ErrTimeout], [ErrIdle], [ErrOutputLimit],
// [ErrWriter], [ErrPipeHeld], [ErrNoStatus], what the Stdin reader returned, or
// [ErrInvalid] and what os/exec says if the command did not start; and
// [*exec.ExitError] whenever the child exited otherwise or died of a signal.
func (r Runner) Run(ctx context.Context, cmd *exec.Cmd) (*Result, error) {
	p, err := r.start(ctx, cmd, options{})
	if err != nil {
		return p.res, err
	}
	return p.Wait()
}

// Start starts cmd and returns at once. The output is read, the bounds are kept
// and the child is reaped whether or not anybody calls [Process.Wait]. If the
// command cannot be started, the error is an [*Error] with Reason StartFailed, or
// Canceled if ctx was done.
func (r Runner) Start(ctx context.Context, cmd *exec.Cmd) (*Process, error) {
	p, err := r.start(ctx, cmd, options{})
	if err != nil {
		return nil, err
	}
	return p, nil
}
