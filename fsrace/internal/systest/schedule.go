// SPDX-License-Identifier: MIT

package systest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// A Race is one world with a few actors in it, made anew for each schedule.
type Race struct {
	FS     sys.FS            // the world: a [Disk], or sys.OS in a fresh directory
	Actors []func(fs sys.FS) // each runs in its own goroutine, one call at a time
	Check  func() error      // after all have ended

	// Apart reports whether two calls of two actors commute: in either order, both see
	// and leave the same, as far as anybody looks. Of orders that differ in such pairs
	// only, one is enough. nil: none do.
	Apart func(a, b Call) bool
}

// Interleave runs the race made by make under every order of its actors' calls,
// or the first limit of them, and returns how many ran. It stops at the first
// schedule whose Check fails, and its error lists the calls in their order.
//
// Actors must be deterministic but for what they see of the world, must come to an
// end whatever the others do, and must meet nowhere but in FS.
func Interleave(limit int, make func() Race) (ran int, err error) {
	var path []step
	for ran < limit {
		race := make()
		var trace []string
		path, trace = run(race, path)
		ran++
		if err := race.Check(); err != nil {
			return ran, fmt.Errorf("%w\nafter:\n%s", err, strings.Join(trace, "\n"))
		}
		// The next: the last step that has another choice takes it.
		for len(path) > 0 && !path[len(path)-1].advance() {
			path = path[:len(path)-1]
		}
		if len(path) == 0 {
			return ran, nil
		}
	}
	return ran, nil
}

// A step is a choice of who goes next. The actors asleep need not: what they would
// do commutes with all that was done since the orders in which they do it first were
// run (sleep sets: Godefroid, Partial-Order Methods, 1996).
type step struct {
	waiting []*event // by actor, so that equal choices mean equal schedules
	asleep  map[int]bool
	chosen  int
}

func (s *step) advance() bool {
	s.asleep[s.chosen] = true
	return s.choose()
}

// choose reports whether there is an actor that is awake, and chooses it.
func (s *step) choose() bool {
	for i, e := range s.waiting {
		if e != nil && !s.asleep[i] {
			s.chosen = i
			return true
		}
	}
	return false
}

// after returns who is asleep after the step.
func (s *step) after(apart func(a, b Call) bool) map[int]bool {
	asleep := map[int]bool{}
	for i := range s.asleep {
		if apart != nil && apart(s.waiting[i].call, s.waiting[s.chosen].call) {
			asleep[i] = true
		}
	}
	return asleep
}

type event struct {
	actor int
	call  Call // zero: the actor has ended
	grant chan struct{}
}

// run follows path, and then goes on with the first choices there are. It returns the
// path taken, up to where everybody was asleep: what is done from there on has been run.
func run(race Race, path []step) (taken []step, trace []string) {
	events := make(chan event)
	for i, actor := range race.Actors {
		go func() {
			defer func() { events <- event{actor: i} }()
			actor(Wrap(race.FS, func(c Call, do func() error) error {
				grant := make(chan struct{})
				events <- event{i, c, grant}
				<-grant
				return do()
			}))
		}()
	}
	// Only the actor that was let go can report, so exactly one event follows a grant.
	waiting := make([]*event, len(race.Actors))
	live := len(race.Actors)
	receive := func() {
		e := <-events
		if e.grant == nil {
			live--
			return
		}
		waiting[e.actor] = &e
	}
	for range race.Actors {
		receive()
	}
	asleep, known := map[int]bool{}, false
	for n := 0; live > 0; n++ {
		now := step{waiting: slices.Clone(waiting), asleep: asleep}
		switch {
		case n < len(path):
			now.asleep, now.chosen = path[n].asleep, path[n].chosen
		case known || !now.choose():
			known, now.asleep = true, nil
			now.choose()
		}
		if !known {
			taken = append(taken, now)
		}
		e := waiting[now.chosen]
		waiting[now.chosen] = nil
		trace = append(trace, fmt.Sprintf("%d: %v", now.chosen, e.call))
		asleep = now.after(race.Apart)
		close(e.grant)
		receive()
	}
	return taken, trace
}
