// SPDX-License-Identifier: MIT

package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace"
)

// A State is where a job is: always in exactly one.
type State string

// The states are the names of the directories that hold the jobs.
const (
	New     State = newPart
	Claimed State = claimedPart
	Done    State = donePart
	Failed  State = failedPart
)

// An Entry is a job as [Spool.Entries] found it.
type Entry struct {
	Name    string
	ID      string // see [Claim.ID]; empty for a file dropped in by hand that nobody has claimed yet
	State   State
	Owner   fsrace.Owner  // who moved it here: put, claimed, finished or gave it back; only the Nonce if no more is known
	Attempt int           // attempts so far, with the present one
	Age     time.Duration // since it was last written, which is before Put returned; by this host's clock, so for people only
	Reason  string        // why it failed, or why it cannot be claimed
}

// Entries returns every job, sorted by state (New, Claimed, Done, Failed), name and
// ID. Jobs go on moving meanwhile: each that stays is there, and one that moves is
// there once, in a state it had during the call, or if it moves back and forth very
// fast may be missed.
//
// Files dropped into new by hand are entries with Name only. What can never be
// claimed (it has a name that no job can have, or is no regular file) and whatever
// strays in the other directories comes with a Reason. Hidden files are left out.
func (s *Spool) Entries() ([]Entry, error) {
	found := map[string]Entry{}
	owners := map[string]fsrace.Owner{}
	// Jobs go forward, so one that moves on is found again further on. Some go back
	// from claimed to new: new is read once more.
	for _, state := range []State{New, Claimed, New, Done, Failed} {
		names, err := s.list(string(state))
		if err != nil {
			return nil, fmt.Errorf("spool: entries: %w", err)
		}
		for _, base := range names {
			e, ok := s.entry(state, base, owners)
			if ok {
				found[cmp.Or(e.ID, string(state)+"/"+base)] = e
			}
		}
	}
	entries := make([]Entry, 0, len(found))
	for _, e := range found {
		entries = append(entries, e)
	}
	order := map[State]int{New: 0, Claimed: 1, Done: 2, Failed: 3}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(order[a.State], order[b.State]), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return entries, nil
}

func (s *Spool) entry(state State, base string, owners map[string]fsrace.Owner) (Entry, bool) {
	path := s.path(string(state), base)
	e := Entry{Name: base, State: state}
	job, ok := parseFile(base)
	if !ok && state == Failed && strings.HasSuffix(base, reasonSuffix) {
		return e, false
	}
	info, err := s.fs.Lstat(path)
	if err != nil {
		return e, false // moved on
	}
	e.Age = max(0, time.Since(time.Unix(0, info.Mtime)))
	if !ok {
		if state != New {
			e.Reason = "not named by a spool"
		} else if err := checkName(base); err != nil {
			e.Reason = err.Error()
		} else if !info.Mode.IsRegular() {
			e.Reason = fmt.Sprintf("cannot be claimed: not a regular file (%v)", info.Mode)
		}
		return e, true
	}
	owner, known := owners[job.worker]
	if !known {
		r, err := s.record(job.worker)
		if owner = r.owner; err != nil {
			owner = fsrace.Owner{Nonce: job.worker}
		}
		owners[job.worker] = owner
	}
	e.Name, e.ID, e.Attempt, e.Owner = job.name, job.id, int(job.attempt), owner
	if state == Failed {
		e.Reason, err = s.readFile(path + reasonSuffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			e.Reason = fmt.Sprintf("(the reason cannot be read: %v)", err)
		}
	}
	return e, true
}
