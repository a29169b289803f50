// SPDX-License-Identifier: MIT

package incident

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// An Outcome is what became of one step.
type Outcome struct {
	Incident string        `json:"incident"`
	Step     string        `json:"step"`   // AsItHappened or WithSysprim
	Result   Result        `json:"result"` // in words
	Took     time.Duration `json:"took_ns"`
	Evidence Evidence      `json:"evidence"`
	Error    string        `json:"error,omitempty"` // for Broken and Skipped
}

// The two steps of an incident.
const (
	AsItHappened = "as it happened"
	WithSysprim  = "with sysprim"
)

// A Result is the verdict on a step.
type Result string

const (
	Reproduced    Result = "reproduced"
	NotReproduced Result = "not reproduced"
	Held          Result = "held"
	DidNotHold    Result = "did not hold"
	Skipped       Result = "skipped" // not on this platform
	Broken        Result = "broken"  // the step itself failed
)

// OK reports whether the step proved what it is there to prove, or could not be
// tried on this platform.
func (r Result) OK() bool { return r == Reproduced || r == Held || r == Skipped }

const (
	stepTimeout = 90 * time.Second // a step takes seconds, on a machine that is not overrun
	stepGrace   = 5 * time.Second  // for a step to notice that its time is up
)

// run carries out one step of inc. A step that panics or does not heed its
// deadline is Broken; the latter is left behind.
func run(ctx context.Context, inc *Incident, name string, progress Progress) Outcome {
	step, yes, no := inc.Naive, Reproduced, NotReproduced
	if name == WithSysprim {
		step, yes, no = inc.Fixed, Held, DidNotHold
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("the step took longer than %v", stepTimeout))
	defer cancel()

	type answer struct {
		evidence Evidence
		err      error
	}
	answers := make(chan answer, 1)
	start := time.Now()
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			answers <- a
		}()
		a.evidence, a.err = step(ctx, progress)
	}()

	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		select {
		case a = <-answers:
		case <-time.After(stepGrace):
			a.err = fmt.Errorf("the step is stuck: %w", context.Cause(ctx))
		}
	}
	out := Outcome{Incident: inc.Name, Step: name, Took: time.Since(start), Evidence: a.evidence}
	switch {
	case errors.Is(a.err, errors.ErrUnsupported):
		out.Result, out.Error = Skipped, a.err.Error()
	case a.err != nil:
		out.Result, out.Error = Broken, a.err.Error()
	case a.evidence.Confirmed:
		out.Result = yes
	default:
		out.Result = no
	}
	return out
}
