// SPDX-License-Identifier: MIT

package incident

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrNotAsTold is returned by [Tour.Run] if a failure was not reproduced, a fix
// did not hold, or a step was broken.
var ErrNotAsTold = errors.New("not every story came out as told")

// A Tour runs incidents one after the other, both steps of each.
type Tour struct {
	Out  io.Writer // the table, or with JSON one array of [Outcome]
	Live io.Writer // progress: one changing line on a terminal, else plain lines
	JSON bool
}

// Tell is a Tour of one incident, for its own program.
func Tell(ctx context.Context, inc *Incident) error {
	return Tour{Out: os.Stdout, Live: os.Stderr}.Run(ctx, inc)
}

// Run runs the incidents and reports each step as it ends. It returns
// [ErrNotAsTold] if any step's result is not OK, and the context's cause if the
// tour was broken off.
func (t Tour) Run(ctx context.Context, incidents ...*Incident) error {
	var outcomes []Outcome
	bad, skipped := 0, 0
	for _, inc := range incidents {
		if !t.JSON {
			fmt.Fprintf(t.Out, "%s: %s (%s)\n", inc.Name, inc.Title, inc.Package)
		}
		for _, step := range []string{AsItHappened, WithSysprim} {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			live := newLive(t.Live, inc.Name, step)
			out := run(ctx, inc, step, live.progress)
			live.stop()
			outcomes = append(outcomes, out)
			if !out.Result.OK() {
				bad++
			}
			if out.Result == Skipped {
				skipped++
			}
			if !t.JSON {
				t.row(out)
			}
		}
	}
	if t.JSON {
		enc := json.NewEncoder(t.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(outcomes); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(t.Out, "\n%d steps, %d as told, %d not, %d skipped\n",
			len(outcomes), len(outcomes)-bad-skipped, bad, skipped)
	}
	if bad > 0 {
		return ErrNotAsTold
	}
	return nil
}

func (t Tour) row(out Outcome) {
	text := out.Evidence.Summary
	if out.Error != "" {
		text, _, _ = strings.Cut(out.Error, "\n")
	}
	fmt.Fprintf(t.Out, "  %-14s  %-14s  %5.1f s  %s\n", out.Step, out.Result, out.Took.Seconds(), text)
	if _, trace, more := strings.Cut(out.Error, "\n"); more {
		fmt.Fprintln(t.Out, trace)
	}
}
