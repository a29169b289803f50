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
	n, _ := r.table.count()
	rows := make([]row, 0, n)
	r.table.each(func(h *holder) {
		ops, closing := h.state()
		rows = append(rows, row{Handle{ID: h.id, FD: h.core.fd, Name: h.core.name, Opened: started.Add(time.Duration(h.opened)),
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

// A row is what a report needs of a holder, so that it can be grouped outside the
// table's locks.
type row struct {
	name    string
	stack   *stack
	opened  int64
	closing bool
}

// A tally is a group being counted.
type tally struct {
	oldest  row
	handles int
	closing int
	others  int    // different stacks of a name, different names of a stack
	first   *stack // of a name
}

func (t *tally) add(r row) {
	t.handles++
	if r.closing {
		t.closing++
	}
	if r.opened < t.oldest.opened {
		t.oldest = r
	}
}

func (r *registry) snapshot() Report {
	r.publish()
	now := now()
	r.sampleTrend(now)
	handles, files := r.table.count()
	rep := Report{
		Time:        time.Now(),
		Level:       r.level(),
		Files:       files,
		Private:     int(r.private.Load()),
		ProcessOpen: processOpen(),
		Headroom:    -1,
	}
	rep.Soft, rep.Hard = limits()
	if rep.Soft >= 0 && rep.ProcessOpen >= 0 {
		rep.Headroom = max(0, rep.Soft-int64(rep.ProcessOpen))
	}
	rows := make([]row, 0, handles)
	r.table.each(func(h *holder) {
		_, closing := h.state()
		rows = append(rows, row{h.core.name, h.stack, h.opened, closing})
	})
	rep.Tracked = len(rows)
	byName, byStack := tallies(rows)
	rep.ByName = groups(byName, now, func(g *Group, t *tally) { g.Names, g.Stacks = 1, t.others })
	rep.ByStack = groups(byStack, now, func(g *Group, t *tally) { g.Names, g.Stacks = t.others, 1 })
	rep.Leaks, rep.Latest = r.leaks.list()
	rep.Trend = r.trend.list()
	return rep
}

// tallies groups the rows by name and by stack.
func tallies(rows []row) (byName, byStack []*tally) {
	type pair struct {
		name  *tally
		stack *stack
	}
	names, stacks := map[string]*tally{}, map[*stack]*tally{}
	pairs := map[pair]struct{}{} // but for each name's first stack
	var slab []tally             // names can be as many as rows
	for _, r := range rows {
		n, s := names[r.name], stacks[r.stack]
		if n == nil {
			if len(slab) == cap(slab) {
				slab = make([]tally, 0, 256)
			}
			slab = append(slab, tally{oldest: r})
			n = &slab[len(slab)-1]
			names[r.name] = n
			byName = append(byName, n)
		}
		if s == nil {
			s = &tally{oldest: r}
			stacks[r.stack] = s
			byStack = append(byStack, s)
		}
		// Most names are opened from one place, so that the pair is seldom new.
		if n.handles == 0 {
			n.first = r.stack
			n.others, s.others = 1, s.others+1
		} else if p := (pair{n, r.stack}); r.stack != n.first {
			if _, known := pairs[p]; !known {
				pairs[p] = struct{}{}
				n.others, s.others = n.others+1, s.others+1
			}
		}
		n.add(r)
		s.add(r)
	}
	return byName, byStack
}

// groups orders the tallies: the largest first, of equals the oldest.
func groups(tallies []*tally, now int64, others func(*Group, *tally)) []Group {
	slices.SortFunc(tallies, func(a, b *tally) int {
		if a.handles != b.handles {
			return b.handles - a.handles
		}
		return cmp.Compare(a.oldest.opened, b.oldest.opened)
	})
	out := make([]Group, len(tallies))
	for i, t := range tallies {
		out[i] = Group{Name: t.oldest.name, Stack: t.oldest.stack.resolve(), Handles: t.handles, Closing: t.closing,
			Oldest: time.Duration(now - t.oldest.opened)}
		others(&out[i], t)
	}
	return out
}
