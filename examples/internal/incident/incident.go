// SPDX-License-Identifier: MIT

// Package incident describes one true story as a pair of runnable steps: the way
// it happened, and the same work done with sysprim. Each example program defines
// one [Incident]; examples/tour runs them all and compares what was measured with
// what was promised.
package incident

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// An Incident is one story, told twice.
type Incident struct {
	Name    string // as given to -run: the example's folder name
	Title   string // what went wrong, in at most 60 characters
	Package string // the sysprim package that removes it
	Naive   Step   // the way it happened
	Fixed   Step   // with sysprim

	// Roles are the processes the story needs besides the main one, started
	// with [Incident.Command]. A role returns its process's exit status.
	Roles map[string]func(args []string) int
}

// A Step does the work once, bounded by ctx, and says what it measured. It calls
// progress with a short line whenever there is something to see. It returns an
// error wrapping [errors.ErrUnsupported] where the story cannot be told on this
// platform, and any other error if the step itself could not be carried out.
type Step func(ctx context.Context, progress Progress) (Evidence, error)

// A Progress receives one line, without a newline, about a running step.
// It may be called from any goroutine.
type Progress func(format string, args ...any)

// Evidence is what a step measured. Nothing in it is fixed beforehand.
type Evidence struct {
	// Confirmed reports that the failure was reproduced (Naive) or that the fix
	// held (Fixed).
	Confirmed bool `json:"confirmed"`
	// Summary is one line for people, at most 72 characters, with the figures
	// that prove Confirmed.
	Summary string `json:"summary"`
	// Facts are the same figures by name, for programs.
	Facts map[string]any `json:"facts,omitempty"`
}

const roleEnv = "SYSPRIM_EXAMPLE_ROLE"

// Command returns a command that runs one of the incident's roles in a new
// process: this executable again, which must call [Dispatch] first.
func (inc *Incident) Command(role string, args ...string) *exec.Cmd {
	if inc.Roles[role] == nil {
		panic(fmt.Sprintf("incident: %s has no role %q", inc.Name, role))
	}
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+inc.Name+"/"+role)
	return cmd
}

// Dispatch plays the role this process was started for by [Incident.Command] and
// exits with its status; in any other process it returns at once. It must be the
// first call of main, and of TestMain in tests that start roles.
func Dispatch(incidents ...*Incident) {
	want := os.Getenv(roleEnv)
	if want == "" {
		return
	}
	os.Unsetenv(roleEnv)
	for _, inc := range incidents {
		for role, run := range inc.Roles {
			if want == inc.Name+"/"+role {
				os.Exit(run(os.Args[1:]))
			}
		}
	}
	fmt.Fprintf(os.Stderr, "%s names no role of this program: %q\n", roleEnv, want)
	os.Exit(2)
}
