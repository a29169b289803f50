// SPDX-License-Identifier: MIT

package systest

import (
	"fmt"
	"strings"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// A Race is one world with a few actors in it, made anew for each schedule.
type Race struct {
	FS     sys.FS            // the world: a [Disk], or sys.OS in a fresh directory
	Actors []func(fs sys.FS) // each runs in its own goroutine, one call at a time
	Check  func() error      // after all have ended
}

// Interleave runs the race made by make under every order of its actors' calls,
// or the first limit of them, and returns how many ran. It stops at the first
// schedule whose Check fails, and its error lists the calls in their order.
//
// Actors must be deterministic but for what they see of the world, must come to an
// end whatever the others do, and must meet nowhere but in FS.
func Interleave(limit int, make func() Race) (ran int, err error) {
	var plan []int // which of the waiting actors goes first, at each step
	for ran < limit {
		race := make()
		taken, options, trace := run(race, plan)
		ran++
		if err := race.Check(); err != nil {
			return ran, fmt.Errorf("%w\nafter, in schedule %v:\n%s", err, taken, strings.Join(trace, "\n"))
		}
		// The next plan: the last choice that had another option takes it.
		i := len(taken) - 1
		for i >= 0 && taken[i]+1 >= options[i] {
			i--
		}
		if i < 0 {
			return ran, nil
		}
		plan = append(taken[:i:i], taken[i]+1)
	}
	return ran, nil
}

type event struct {
	actor int
	call  Call // zero: the actor has ended
	grant chan struct{}
}

func run(race Race, plan []int) (taken, options []int, trace []string) {
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
	// waiting is indexed by actor, so that equal plans mean equal schedules. Only
	// the actor that was let go can report, so exactly one event follows a grant.
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
	for live > 0 {
		choice := 0
		if len(taken) < len(plan) {
			choice = plan[len(taken)]
		}
		taken, options = append(taken, choice), append(options, live)
		for i, e := range waiting {
			if e == nil {
				continue
			}
			if choice > 0 {
				choice--
				continue
			}
			waiting[i] = nil
			trace = append(trace, fmt.Sprintf("%d: %v", i, e.call))
			close(e.grant)
			receive()
			break
		}
	}
	return taken, options, trace
}
