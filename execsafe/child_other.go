// SPDX-License-Identifier: MIT

//go:build !unix

package execsafe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A child is a started process. It can be killed, but not asked to end.
type child struct {
	cmd *exec.Cmd
	sys *system
	pid int

	mu     sync.Mutex
	reaped bool
	err    error
}

type cgroup struct{}

func (*cgroup) close(bool, time.Duration) error { return nil }

func prepare(_ *exec.Cmd, r *Runner) (bool, *cgroup, error) {
	if r.Cgroup != "" || r.DieWithParent {
		return false, nil, fmt.Errorf("%w: Runner.Cgroup and DieWithParent: %w", ErrInvalid, errors.ErrUnsupported)
	}
	return false, nil, nil
}

func newChild(cmd *exec.Cmd, sys *system, _ bool, _ *cgroup) *child {
	return &child{cmd: cmd, sys: sys, pid: cmd.Process.Pid}
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

func (c *child) kill(sig syscall.Signal) error {
	if sig == 0 {
		return nil
	}
	return c.cmd.Process.Signal(sig)
}

func (c *child) signal(sig os.Signal) error { return c.cmd.Process.Signal(sig) }

func (c *child) outlivesReap() bool { return true }
func (c *child) terminate() error   { return c.killAll() }
func (c *child) killAll() error     { return c.sys.kill(c, syscall.SIGKILL) }
func (c *child) members() int       { return 0 }

func (c *child) reap() (*os.ProcessState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd.ProcessState != nil {
		return c.cmd.ProcessState, nil
	}
	return nil, c.err
}

func (c *child) close(bool, time.Duration) error { return nil }

func maxRSS(*os.ProcessState) int64 { return 0 }

func createTemp(dir string) (*os.File, error) { return os.CreateTemp(dir, "execsafe-*") }

func groupMembers(int) (int, error) { return 0, errors.ErrUnsupported }
