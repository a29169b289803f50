// SPDX-License-Identifier: MIT

package fdguard

import (
	"cmp"
	"slices"
	"time"
)

// A Report is what is open at one moment.
type Report struct {
	Time        time.Time
	Level       Level
	Tracked     int   // handles in the table: opened above level Off and not closed
	Files       int   // descriptors these handles hold
	Private     int   // further descriptors, kept for Clones to send from
	ProcessOpen int   // descriptors open in the process, guarded or not; -1 if unknown
	Soft, Hard  int64 // RLIMIT_NOFILE now; -1 if unknown
	Headroom    int64 // Soft - ProcessOpen, never below 0; -1 if unknown

	ByName  []Group // handles by file name, the largest group first
	ByStack []Group // handles by opening stack, the largest group first

	Leaks  map[string]int64 // leaks reported since the start, by [Kind]; nil if none
	Latest []Leak           // the last few of them, oldest first
	Trend  []Sample         // since the start, oldest first
}

// A Group is the handles that have the name or the opening stack in common.
type Group struct {
	Name    string // of the oldest handle
	Names   int    // how many different names
	Stack   Stack  // of the oldest handle; nil below level Stacks
	Stacks  int    // how many different stacks
	Handles int
	Closing int           // of these, closed with operations still in progress
	Oldest  time.Duration // age of the oldest handle
}

// A Handle is one row of the table.
type Handle struct {
	ID      uint64 // unique in this process, growing
	FD      uintptr
	Name    string
	Stack   Stack // where it was opened; nil below level Stacks
	Opened  time.Time
	Ops     int  // operations in progress
	Closing bool // closed, and the descriptor waits for the operations
	Lost    bool // a stranger has closed the descriptor and the number is another's
}

// Snapshot says what is open. It needs no descriptor, so that it works when there
// is none left, and blocks opens and closes for microseconds at a time only. The
// handles are not all looked at in the same instant.
func Snapshot() Report { return std.snapshot() }

// Handles lists the table, oldest handle first.
func Handles() []Handle { return std.handles() }

func (r *registry) handles() []Handle {
	type row struct {
		Handle
		s *stack
	}
	rows := make([]row, 0, r.table.handles.Load())
	r.table.each(func(h *holder) {
		ops, closing := h.state()
		rows = append(rows, row{Handle{ID: h.id, FD: h.core.fd, Name: h.core.name, Opened: time.Unix(0, h.opened),
			Ops: ops, Closing: closing, Lost: h.core.stolen.Load()}, h.stack})
	})
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.ID, b.ID) })
	out := make([]Handle, len(rows))
	for i, row := range rows {
		out[i] = row.Handle
		out[i].Stack = row.s.resolve()
	}
	return out
}

// A tally is a group being counted.
type tally struct {
	oldest  *holder
	handles int
	closing int
	names   map[string]struct{}
	stacks  map[*stack]struct{}
}

func (r *registry) snapshot() Report {
	r.publish()
	now := time.Now()
	r.sampleTrend(now)
	rep := Report{
		Time:        now,
		Level:       r.level(),
		Private:     int(r.private.Load()),
		ProcessOpen: processOpen(),
		Headroom:    -1,
	}
	rep.Soft, rep.Hard = limits()
	if rep.Soft >= 0 && rep.ProcessOpen >= 0 {
		rep.Headroom = max(0, rep.Soft-int64(rep.ProcessOpen))
	}
	byName, byStack := map[string]*tally{}, map[*stack]*tally{}
	cores := map[*core]struct{}{}
	r.table.each(func(h *holder) {
		rep.Tracked++
		cores[h.core] = struct{}{}
		_, closing := h.state()
		count(byName, h.core.name, h, closing)
		count(byStack, h.stack, h, closing)
	})
	rep.Files = len(cores)
	rep.ByName, rep.ByStack = groups(byName, now), groups(byStack, now)
	rep.Leaks, rep.Latest = r.leaks.list()
	rep.Trend = r.trend.list()
	return rep
}

func count[K comparable](m map[K]*tally, key K, h *holder, closing bool) {
	t := m[key]
	if t == nil {
		t = &tally{oldest: h, names: map[string]struct{}{}, stacks: map[*stack]struct{}{}}
		m[key] = t
	}
	t.handles++
	if closing {
		t.closing++
	}
	if h.opened < t.oldest.opened {
		t.oldest = h
	}
	t.names[h.core.name] = struct{}{}
	t.stacks[h.stack] = struct{}{}
}

func groups[K comparable](m map[K]*tally, now time.Time) []Group {
	out := make([]Group, 0, len(m))
	for _, t := range m {
		out = append(out, Group{Name: t.oldest.core.name, Names: len(t.names), Stack: t.oldest.stack.resolve(), Stacks: len(t.stacks),
			Handles: t.handles, Closing: t.closing, Oldest: time.Duration(now.UnixNano() - t.oldest.opened)})
	}
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Handles, a.Handles), cmp.Compare(b.Oldest, a.Oldest), cmp.Compare(a.Name, b.Name))
	})
	return out
}
