// SPDX-License-Identifier: MIT

package fdguardtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A LeakError says what was left open.
type LeakError struct {
	Guarded   []fdguard.Handle // open, in fdguard's table
	Dropped   []fdguard.Leak   // became unreachable without Close; closed only by the safety net
	Unguarded []Descriptor     // open, and in no table
}

func (e *LeakError) empty() bool {
	return len(e.Guarded) == 0 && len(e.Dropped) == 0 && len(e.Unguarded) == 0
}

func (e *LeakError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d left open", len(e.Guarded)+len(e.Dropped)+len(e.Unguarded))
	for _, h := range e.Guarded {
		state := "open"
		if h.Closing {
			state = fmt.Sprintf("closed with %d operations in progress", h.Ops)
		}
		fmt.Fprintf(&b, "\nguarded handle %d on fd %d: %s: %s, opened by%s", h.ID, h.FD, h.Name, state, indented(h.Stack))
	}
	for _, l := range e.Dropped {
		fmt.Fprintf(&b, "\nguarded handle, dropped without Close: %s: opened by%s", l.Name, indented(l.Stack))
	}
	for _, d := range e.Unguarded {
		fmt.Fprintf(&b, "\nunguarded %s", d)
	}
	return b.String()
}

func indented(s fdguard.Stack) string {
	if len(s) == 0 {
		return " (no stack at this level)"
	}
	return "\n    " + strings.ReplaceAll(s.String(), "\n", "\n    ")
}

// look compares what is open now with what is known. What may be another test's is
// in unsure, as long as another test is running.
func (c *config) look() (leaks, unsure *LeakError) {
	leaks, unsure = &LeakError{}, &LeakError{}
	others := c.test != "" && othersRunning(c.test)
	// The descriptors first: one that is guarded by then is in the table after.
	all := withoutPooledPipes(openDescriptors())
	handles, report := fdguard.Handles(), fdguard.Snapshot()

	for _, h := range handles {
		if !c.handles[h.ID] && !c.ignoresName(h.Name) {
			if to := c.blame(h.Stack, leaks, unsure); to != nil {
				to.Guarded = append(to.Guarded, h)
			}
		}
	}
	for _, l := range droppedSince(c.dropped, report) {
		if !c.ignoresName(l.Name) {
			if to := c.blame(l.Stack, leaks, unsure); to != nil {
				to.Dropped = append(to.Dropped, l)
			}
		}
	}
	for _, d := range unguarded(all, handles, report.Private) {
		if !c.known[d] && !c.ignoresName(d.Name) && !isTestingFile(d) {
			unsure.Unguarded = append(unsure.Unguarded, d)
		}
	}
	// Others may have ended meanwhile, or begun.
	if !unsure.empty() && !others && (c.test == "" || !othersRunning(c.test)) {
		leaks.Guarded = append(leaks.Guarded, unsure.Guarded...)
		leaks.Dropped = append(leaks.Dropped, unsure.Dropped...)
		leaks.Unguarded = unsure.Unguarded
		unsure = &LeakError{}
	}
	return leaks, unsure
}

// blame returns the error a handle opened on this stack belongs in; nil: another test's.
func (c *config) blame(stack fdguard.Stack, leaks, unsure *LeakError) *LeakError {
	switch opener := testOf(stack); {
	case c.test == "" || opener == c.test:
		return leaks
	case opener == "":
		return unsure
	}
	return nil
}

// droppedSince returns the leaks reported after the first n that were of a handle
// dropped without Close. The table keeps the latest only; the others are summed up.
func droppedSince(n int64, report fdguard.Report) []fdguard.Leak {
	more := report.Leaks[fdguard.Dropped.String()] - n
	var out []fdguard.Leak
	for _, l := range slices.Backward(report.Latest) {
		if l.Kind == fdguard.Dropped && int64(len(out)) < more {
			out = append(out, l)
		}
	}
	if rest := more - int64(len(out)); rest > 0 {
		out = append(out, fdguard.Leak{Name: fmt.Sprintf("(%d earlier ones)", rest)})
	}
	slices.Reverse(out)
	return out
}

// unguarded returns the descriptors that no handle owns. The table does not number
// the private descriptions that clones send from, but counts them: as many
// descriptors of the files that handles are open on are theirs.
func unguarded(all []Descriptor, handles []fdguard.Handle, private int) []Descriptor {
	type inode struct{ dev, ino uint64 }
	owned := make(map[int]bool)
	for _, h := range handles {
		if !h.Lost {
			owned[int(h.FD)] = true
		}
	}
	files := make(map[inode]bool)
	for _, d := range all {
		if owned[d.FD] {
			files[inode{d.dev, d.ino}] = true
		}
	}
	return slices.DeleteFunc(all, func(d Descriptor) bool {
		if owned[d.FD] {
			return true
		}
		if private > 0 && files[inode{d.dev, d.ino}] {
			private--
			return true
		}
		return false
	})
}
