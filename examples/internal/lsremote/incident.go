// SPDX-License-Identifier: MIT

package lsremote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

// Incident is the story for the tour.
var Incident = &incident.Incident{
	Name:    "lsremote",
	Title:   "git ls-remote hangs when its listing outgrows the pipe",
	Package: "execsafe",
	Naive:   naive,
	Fixed:   fixed,
}

// stage builds the repository in a temporary directory; done removes it.
func stage(ctx context.Context, progress incident.Progress) (repo *repository, done func(), err error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, nil, fmt.Errorf("git is not installed: %w", errors.Join(err, errors.ErrUnsupported))
	}
	dir, err := os.MkdirTemp("", "lsremote-")
	if err != nil {
		return nil, nil, err
	}
	done = func() { os.RemoveAll(dir) }
	progress("building a repository with a listing of %d bytes", before)
	repo, err = newRepository(ctx, dir)
	if err != nil {
		done()
		return nil, nil, err
	}
	return repo, done, nil
}
