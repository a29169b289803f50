// SPDX-License-Identifier: MIT

package lsremote

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/execsafe"
)

// List returns what git ls-remote prints for a repository. The output is read
// while git runs, and bounded: in memory by the limit, in time by the timeout.
func List(ctx context.Context, repo string) ([]byte, error) {
	return list(ctx, exec.Command("git", "ls-remote", "--", repo))
}

func list(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	runner := execsafe.Runner{Timeout: 30 * time.Second, Stdout: execsafe.All(16 << 20)}
	res, err := runner.Run(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return res.Stdout.Bytes(), nil
}

// fixed lists the repository that hung the naive program.
func fixed(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
	repo, done, err := stage(ctx, progress)
	if err != nil {
		return incident.Evidence{}, err
	}
	defer done()
	if err := repo.grow(ctx); err != nil {
		return incident.Evidence{}, err
	}
	progress("listing %d bytes: read, then wait", after)
	start := time.Now()
	out, err := list(ctx, repo.lsRemote())
	if err != nil {
		return incident.Evidence{}, err
	}
	took := time.Since(start)
	lines := bytes.Count(out, []byte("\n"))
	return incident.Evidence{
		Confirmed: len(out) == after,
		Summary:   fmt.Sprintf("%d bytes, %d references, in %d ms", len(out), lines, took.Milliseconds()),
		Facts:     map[string]any{"bytes": len(out), "references": lines, "took_ms": took.Milliseconds()},
	}, nil
}
