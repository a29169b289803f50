// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	incident.Dispatch(incidents...)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func demo(name string, reproduced bool) *incident.Incident {
	confirm := func(ok bool) incident.Step {
		return func(context.Context, incident.Progress) (incident.Evidence, error) {
			return incident.Evidence{Confirmed: ok, Summary: "measured"}, nil
		}
	}
	return &incident.Incident{Name: name, Title: name, Package: "demo", Naive: confirm(reproduced), Fixed: confirm(true)}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	all := []*incident.Incident{demo("good", true), demo("bad", false)}
	for name, tc := range map[string]struct {
		args       []string
		want       int
		wantOut    string
		wantStderr string
	}{
		"a story that comes out":    {[]string{"-run", "good"}, 0, "2 steps, 2 as told, 0 not", ""},
		"a story that does not":     {[]string{"-run", "bad"}, 1, "2 steps, 1 as told, 1 not", "not every story"},
		"all":                       {nil, 1, "4 steps, 3 as told", "not every story"},
		"two by name":               {[]string{"-run", "bad, good"}, 1, "4 steps", ""},
		"an unknown name":           {[]string{"-run", "ugly"}, 2, "", `no incident is called "ugly"; there are good, bad`},
		"an unknown flag":           {[]string{"-fast"}, 2, "", "-fast"},
		"an argument":               {[]string{"good"}, 2, "", `unexpected argument "good"`},
		"help":                      {[]string{"-h"}, 0, "", "-json"},
		"an empty name in the list": {[]string{"-run", "good,"}, 2, "", `no incident is called ""`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs strings.Builder
			if got := tour(t.Context(), tc.args, all, &out, &errs); got != tc.want {
				t.Errorf("exit status %d, want %d", got, tc.want)
			}
			if !strings.Contains(out.String(), tc.wantOut) {
				t.Errorf("stdout = %q, want it to contain %q", &out, tc.wantOut)
			}
			if !strings.Contains(errs.String(), tc.wantStderr) {
				t.Errorf("stderr = %q, want it to contain %q", &errs, tc.wantStderr)
			}
		})
	}
}

func TestJSONIsOneArrayAndNothingElse(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	if got := tour(t.Context(), []string{"-json"}, []*incident.Incident{demo("good", true)}, &out, &errs); got != 0 {
		t.Fatalf("exit status %d: %s", got, &errs)
	}
	var rows []incident.Outcome
	if err := json.Unmarshal([]byte(out.String()), &rows); err != nil || len(rows) != 2 {
		t.Errorf("%d rows, %v: %s", len(rows), err, &out)
	}
}

// The tour's own incidents are run by .ci/run with the program itself; here it is
// enough that each can be told apart and shown.
func TestIncidentsFitTheTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, inc := range incidents {
		if seen[inc.Name] {
			t.Errorf("two incidents are called %s", inc.Name)
		}
		seen[inc.Name] = true
		if inc.Naive == nil || inc.Fixed == nil || inc.Package == "" || len(inc.Title) == 0 || len(inc.Title) > 60 {
			t.Errorf("%s is incomplete, or its title too long for the table: %q", inc.Name, inc.Title)
		}
	}
}
