// SPDX-License-Identifier: MIT

//go:build !linux

package execsafe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A child is a started process and, on Unix, the group that it leads. There is no
// portable way to wait without reaping, so wait does both; after it, the number of
// the group stays taken only as long as a member is alive, which is why the sweep
// follows at once.
type child struct {
	cmd    *exec.Cmd
	sys    *system
	pid    int
	leader bool // never on Windows

	mu     sync.Mutex
	reaped bool
	err    error
}

type cgroup struct{}

func (*cgroup) close(bool, time.Duration) error { return nil }

func prepare(cmd *exec.Cmd, r *Runner) (leader bool, _ *cgroup, err error) {
	if r.Cgroup != "" || r.DieWithParent {
		return false, nil, fmt.Errorf("%w: Runner.Cgroup and DieWithParent: %w", ErrInvalid, errors.ErrUnsupported)
	}
	return prepareGroup(cmd, r), nil, nil
}

func newChild(cmd *exec.Cmd, sys *system, leader bool, _ *cgroup) *child {
	return &child{cmd: cmd, sys: sys, pid: cmd.Process.Pid, leader: leader}
}

func (c *child) wait() {
	err := c.cmd.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.reaped = err, true
}

func (c *child) exited() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reaped
}

func (c *child) outlivesReap() bool { return true }

func (c *child) reap() (*os.ProcessState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd.ProcessState != nil {
		return c.cmd.ProcessState, nil
	}
	return nil, c.err
}

func (c *child) close(bool, time.Duration) error { return nil }

func groupMembers(int) (int, error) { return 0, errors.ErrUnsupported }
