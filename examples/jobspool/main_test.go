// SPDX-License-Identifier: MIT

package main

import (
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/examples/internal/jobspool"
)

func TestMain(m *testing.M) {
	incident.Dispatch(jobspool.Incident)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"status":             "needs the directory",
		"fly /dev/null":      "unknown command",
		"status /dev/null/x": "not a directory",
		"evict /dev/null/x":  "not a directory",
	} {
		if err := run(t.Context(), strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("jobspool %s: %v, want %q", args, err, want)
		}
	}
}
