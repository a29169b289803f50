// SPDX-License-Identifier: MIT

package identd

import (
	"errors"
	"testing"
)

func TestIncident(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func() (bool, string, map[string]any, error){
		"as it happened": func() (bool, string, map[string]any, error) {
			e, err := Incident.Naive(t.Context(), t.Logf)
			return e.Confirmed, e.Summary, e.Facts, err
		},
		"with sysprim": func() (bool, string, map[string]any, error) {
			e, err := Incident.Fixed(t.Context(), t.Logf)
			return e.Confirmed, e.Summary, e.Facts, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ok, summary, facts, err := step()
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil || !ok {
				t.Errorf("%q %v: %v", summary, facts, err)
			}
			if len(summary) > 72 {
				t.Errorf("summary of %d characters: %q", len(summary), summary)
			}
			if facts["hasty_state"] != "FIN_WAIT1" {
				t.Errorf("hasty clients were in %v, want FIN_WAIT1", facts["hasty_state"])
			}
		})
	}
}
