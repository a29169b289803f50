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
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

var roles = &Incident{Name: "roles", Roles: map[string]func([]string) int{
	"echo": func(args []string) int {
		fmt.Print(strings.Join(args, " "), " ", os.Getenv(roleEnv))
		return 3
	},
}}

func TestMain(m *testing.M) {
	Dispatch(roles)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func steps(naive, fixed Step) *Incident {
	return &Incident{Name: "demo", Title: "a story", Package: "pkg", Naive: naive, Fixed: fixed}
}

func gives(confirmed bool, err error) Step {
	return func(_ context.Context, progress Progress) (Evidence, error) {
		progress("at %d", 1)
		return Evidence{Confirmed: confirmed, Summary: "measured"}, err
	}
}

func TestTourJudgesEachStep(t *testing.T) {
	t.Parallel()
	yes, no := gives(true, nil), gives(false, nil)
	for name, tc := range map[string]struct {
		naive, fixed Step
		want         []Result
		wantErr      error
	}{
		"as told":           {yes, yes, []Result{Reproduced, Held}, nil},
		"did not reproduce": {no, yes, []Result{NotReproduced, Held}, ErrNotAsTold},
		"did not hold":      {yes, no, []Result{Reproduced, DidNotHold}, ErrNotAsTold},
		"step fails":        {gives(true, io.ErrUnexpectedEOF), yes, []Result{Broken, Held}, ErrNotAsTold},
		"other platform":    {gives(false, fmt.Errorf("no: %w", errors.ErrUnsupported)), yes, []Result{Skipped, Held}, nil},
		"step panics":       {func(context.Context, Progress) (Evidence, error) { panic("oops") }, yes, []Result{Broken, Held}, ErrNotAsTold},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			err := Tour{Out: &out, Live: io.Discard, JSON: true}.Run(t.Context(), steps(tc.naive, tc.fixed))
			if !errors.Is(err, tc.wantErr) {
				t.Errorf("Run = %v, want %v", err, tc.wantErr)
			}
			var got []Outcome
			if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
				t.Fatal(err)
			}
			if len(got) != len(tc.want) {
				t.Fatalf("%d outcomes, want %d", len(got), len(tc.want))
			}
			for i, want := range tc.want {
				if got[i].Result != want {
					t.Errorf("step %d (%s): %q, want %q (%s)", i, got[i].Step, got[i].Result, want, got[i].Error)
				}
			}
		})
	}
}

func TestTourPrintsAnAlignedTable(t *testing.T) {
	t.Parallel()
	var out, live strings.Builder
	if err := (Tour{Out: &out, Live: &live}).Run(t.Context(), steps(gives(true, nil), gives(true, nil))); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) < 3 || lines[0] != "demo: a story (pkg)" {
		t.Fatalf("unexpected table:\n%s", &out)
	}
	if a, b := strings.Index(lines[1], "measured"), strings.Index(lines[2], "measured"); a != b || a < 0 {
		t.Errorf("the evidence is not in one column:\n%s", &out)
	}
	if want := "demo, as it happened: at 1\ndemo, with sysprim: at 1\n"; live.String() != want {
		t.Errorf("progress off a terminal = %q, want %q", &live, want)
	}
}

func TestStepThatIgnoresItsDeadlineIsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		deaf := func(context.Context, Progress) (Evidence, error) { <-release; return Evidence{}, nil }
		start := time.Now()
		out := run(t.Context(), steps(deaf, deaf), AsItHappened, nil)
		if out.Result != Broken || !strings.Contains(out.Error, "stuck") {
			t.Errorf("outcome = %+v, want a broken, stuck step", out)
		}
		if got, want := time.Since(start), stepTimeout+stepGrace; got != want {
			t.Errorf("left after %v, want %v", got, want)
		}
	})
}

func TestTourStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	stops := func(context.Context, Progress) (Evidence, error) { cancel(why); return Evidence{Confirmed: true}, nil }
	err := Tour{Out: io.Discard, Live: io.Discard}.Run(ctx, steps(stops, func(context.Context, Progress) (Evidence, error) {
		t.Error("the second step ran")
		return Evidence{}, nil
	}))
	if !errors.Is(err, why) {
		t.Errorf("Run = %v, want %v", err, why)
	}
}

func TestRoleRunsInItsOwnProcess(t *testing.T) {
	t.Parallel()
	out, err := roles.Command("echo", "a", "b").Output()
	if string(out) != "a b " {
		t.Errorf("the role printed %q, want its arguments and no inherited role", out)
	}
	if err == nil || err.Error() != "exit status 3" {
		t.Errorf("the role ended with %v, want exit status 3", err)
	}
}

func TestUnknownRoleIsRefused(t *testing.T) {
	t.Parallel()
	cmd := roles.Command("echo")
	cmd.Env = append(cmd.Env, roleEnv+"=roles/missing")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `"roles/missing"`) {
		t.Errorf("%v: %s, want a refusal that names the role", err, out)
	}
	defer func() {
		if recover() == nil {
			t.Error("Command of an unknown role did not panic")
		}
	}()
	roles.Command("missing")
}
