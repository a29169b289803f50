// SPDX-License-Identifier: MIT

package execsafe

import (
	"fmt"
	"os"
	"time"
)

// A Result tells how a command ended, what it wrote and what it cost.
type Result struct {
	Args           []string // redacted; Args[0] is Path if the Cmd had none
	Dir            string   // redacted
	Stdout, Stderr *Output  // never nil
	ExitCode       int      // -1 if it did not exit: not started, died of a signal, not dead yet, or unknown
	Signal         os.Signal
	Reason         Reason // what came first
	Start          time.Time
	Wall           time.Duration // from Start to the end of the drain
	User, System   time.Duration // CPU time of the child and the descendants it waited for
	MaxRSS         int64         // in bytes, of the largest of these; on Linux not less than ours was at the start; 0: unknown
	PipeHeld       bool          // a descendant still held an output pipe after Linger
	Escalated      bool          // SIGKILL had to follow SIGTERM
	Swept          int           // leftovers that were killed after the child's own exit
	Stages         []*Result     // of a Pipe, in its order

	combined bool
}

// Reason is what ended a run, or spoiled it first.
type Reason int

const (
	Exited        Reason = iota // by itself, with whatever code
	Signaled                    // by a signal that was not ours
	TimedOut                    // Runner.Timeout
	IdleTimedOut                // Runner.Idle
	Canceled                    // the context ended, or Stop was called
	OutputLimited               // All or Spill were exceeded
	WriterFailed                // a Tee, a Spill's file or OnEvent failed or did not return
	StartFailed                 // nothing was started
)

var reasons = [...]string{"exited", "signaled", "timed out", "idle timed out", "canceled", "output limited", "writer failed", "start failed"}

func (r Reason) String() string { return name(reasons[:], int(r), "Reason") }

// Source names a stream.
type Source int

const (
	FromStdout Source = iota // or from both, if they are combined
	FromStderr
)

var sources = [...]string{"stdout", "stderr"}

func (s Source) String() string { return name(sources[:], int(s), "Source") }

var leftovers = [...]string{"kill", "leave"}

func (l Leftovers) String() string { return name(leftovers[:], int(l), "Leftovers") }

// EventKind says what an [Event] reports.
type EventKind int

const (
	EventStarted  EventKind = iota
	EventOutput             // Stdout or Stderr has grown; several growths may be one event
	EventStopping           // SIGTERM (or SIGKILL, without Grace) is about to be sent, for Reason
	EventKilling            // SIGKILL is about to be sent, as Grace has passed
	EventExited             // the run is over; the last event
)

var eventKinds = [...]string{"started", "output", "stopping", "killing", "exited"}

func (k EventKind) String() string { return name(eventKinds[:], int(k), "EventKind") }

// An Event is a step in the life of a command, for [Runner.OnEvent].
type Event struct {
	Kind           EventKind
	Time           time.Time
	Args           []string // redacted; must not be changed
	Pid            int
	Stdout, Stderr int64  // bytes read so far
	Reason         Reason // of EventStopping, EventKilling and EventExited
	ExitCode       int    // of EventExited
}

// A Line is a line of output, without the "\n" or "\r\n" that ended it.
type Line struct {
	Source  Source
	Time    time.Time // when the piece of output that ended the line was read
	Text    []byte    // valid until the loop asks for the next line
	Partial bool      // longer than MaxLine: the line goes on in the next Line of this Source
}

func name(names []string, i int, kind string) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}
