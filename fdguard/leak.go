// SPDX-License-Identifier: MIT

package fdguard

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A Level says how much is recorded about handles opened from then on.
type Level int32

const (
	// Off records nothing about Open and OpenFile. A dropped handle is closed
	// silently. Wrap and Adopt keep their promises.
	Off Level = iota - 2
	// Count records names and ages, but no stacks.
	Count
	// Stacks is the default: opening stacks of up to 16 frames too.
	Stacks
	// Paranoid in addition checks the identity of each descriptor before its
	// last close, keeps the latest events of each file ([Leak.History]), and
	// reports handles closed twice or used after their Close.
	Paranoid
)

func (l Level) String() string {
	switch l {
	case Off:
		return "Off"
	case Count:
		return "Count"
	case Stacks:
		return "Stacks"
	case Paranoid:
		return "Paranoid"
	}
	return fmt.Sprintf("Level(%d)", int32(l))
}

// SetLevel sets the level for handles opened from now on. What is in the table
// stays there.
func SetLevel(l Level) { std.lvl.Store(int32(l)) }

// A Kind is what went wrong with a handle.
type Kind int

const (
	// Dropped: a handle became unreachable without Close. It was closed.
	Dropped Kind = iota
	// DoubleClose: a handle was closed again, which has no effect (Paranoid only).
	DoubleClose
	// StrangerClosed: the descriptor was closed behind the guard, and its number
	// is not closed again. Found at level Paranoid before the last close; at every
	// level but Off when a later Open is given the number, or a file that is wrapped
	// or adopted has it; at any when an *os.File that was wrapped turns out closed.
	StrangerClosed
	// UseAfterClose: a method was called on a closed handle (Paranoid only).
	UseAfterClose
)

func (k Kind) String() string {
	switch k {
	case Dropped:
		return "Dropped"
	case DoubleClose:
		return "DoubleClose"
	case StrangerClosed:
		return "StrangerClosed"
	case UseAfterClose:
		return "UseAfterClose"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// MarshalText gives the name, for JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// MarshalText gives the name, for JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A Leak is a report about one handle.
type Leak struct {
	Kind    Kind
	Name    string
	Stack   Stack         // where the handle was opened; nil below level Stacks
	Holders int           // of the file at that moment, this handle among them unless it was closed
	Age     time.Duration // since the handle was opened
	History []Event       `json:",omitempty"` // the file's latest events, oldest first; at Paranoid
}

// An Event is one entry of a file's history.
type Event struct {
	Op    string // open, wrap, adopt, clone, close, dropped
	Time  time.Time
	Stack Stack
}

// OnLeak sets the function that is told of leaks; nil restores the default, which
// logs a warning with [slog.Default]. It is called from the goroutine that finds
// the leak, which for Dropped is one of the runtime's: it must not block for long,
// and may be called concurrently.
func OnLeak(fn func(Leak)) {
	if fn == nil {
		std.onLeak.Store(nil)
		return
	}
	std.onLeak.Store(&fn)
}

func (r *registry) report(l Leak) {
	r.leaks.add(l)
	if fn := r.onLeak.Load(); fn != nil {
		(*fn)(l)
		return
	}
	r.logger().Warn("fdguard: "+leakText[l.Kind], slog.String("name", l.Name), slog.Int("holders", l.Holders),
		slog.Duration("age", l.Age), slog.String("opened", l.Stack.String()))
}

var leakText = map[Kind]string{
	Dropped:        "file was dropped without Close",
	DoubleClose:    "file was closed twice",
	StrangerClosed: "descriptor was closed behind the guard",
	UseAfterClose:  "file was used after Close",
}

// misuse reports what a caller did with a closed handle.
func (c *core) misuse(k Kind, h *holder) {
	c.reg.report(Leak{Kind: k, Name: c.name, Stack: h.stack.resolve(), Holders: c.count(), Age: h.age(), History: c.events()})
}

func (h *holder) age() time.Duration {
	if h.opened == 0 {
		return 0
	}
	return time.Duration(now() - h.opened)
}

// maxHistory bounds the events kept per file, and the leaks kept in all.
const maxHistory = 16

type event struct {
	op    string
	time  time.Time
	stack *stack
}

// note records an event, at Paranoid; s is nil where the stack is yet unknown.
func (c *core) note(op string, s *stack) {
	if c.reg.level() < Paranoid {
		return
	}
	if s == nil {
		s = c.reg.capture()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.more()
	if len(x.history) == maxHistory {
		x.history = append(x.history[:0], x.history[1:]...)
	}
	x.history = append(x.history, event{op, time.Now(), s})
}

func (c *core) events() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.extra == nil {
		return nil
	}
	var out []Event
	for _, e := range c.extra.history {
		out = append(out, Event{e.op, e.time, e.stack.resolve()})
	}
	return out
}

// A leakLog remembers how many leaks there were of each kind, and the latest.
type leakLog struct {
	mu     sync.Mutex
	counts [UseAfterClose + 1]int64
	latest []Leak
}

func (g *leakLog) add(l Leak) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counts[l.Kind]++
	if len(g.latest) == maxHistory {
		g.latest = append(g.latest[:0], g.latest[1:]...)
	}
	g.latest = append(g.latest, l)
}

func (g *leakLog) list() (counts map[string]int64, latest []Leak) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, n := range g.counts {
		if n > 0 {
			if counts == nil {
				counts = make(map[string]int64)
			}
			counts[Kind(k).String()] = n
		}
	}
	return counts, slices.Clone(g.latest)
}
