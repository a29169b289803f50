// SPDX-License-Identifier: MIT

//go:build unix && !linux

package execsafe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A child is a started process and the group that it leads. There is no portable
// way to wait without reaping, so wait does both; after it, the number of the group
// stays taken only as long as a member is alive, which is why the sweep follows at
// once.
type child struct {
	cmd    *exec.Cmd
	sys    *system
	pid    int
	leader bool

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
	var attr syscall.SysProcAttr
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	switch {
	case attr.Setsid, attr.Setpgid && attr.Pgid == 0:
		leader = true
	case r.Foreground, attr.Setpgid:
	default:
		attr.Setpgid, leader = true, true
	}
	cmd.SysProcAttr = &attr
	return leader, nil, nil
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

func (c *child) kill(sig syscall.Signal) error {
	var err error
	if c.leader {
		err = syscall.Kill(-c.pid, sig)
	} else {
		err = c.cmd.Process.Signal(sig)
	}
	if err == syscall.ESRCH {
		err = os.ErrProcessDone
	}
	return err
}

func (c *child) signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("%w: signal %v", ErrInvalid, sig)
	}
	return c.sys.kill(c, s)
}

func (c *child) outlivesReap() bool { return true }

func (c *child) terminate() error {
	if err := c.sys.kill(c, syscall.SIGTERM); err != nil {
		return err
	}
	return c.sys.kill(c, syscall.SIGCONT)
}

func (c *child) killAll() error { return c.sys.kill(c, syscall.SIGKILL) }

// members tells only none from some.
func (c *child) members() int {
	if c.leader && c.sys.kill(c, 0) == nil {
		return 1
	}
	return 0
}

func (c *child) reap() (*os.ProcessState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd.ProcessState != nil {
		return c.cmd.ProcessState, nil
	}
	return nil, c.err
}

func (c *child) close(bool, time.Duration) error { return nil }

func maxRSS(ps *os.ProcessState) int64 {
	u, ok := ps.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) << 10
}

func unread(uintptr) int { return 1 << 20 }

func widen(uintptr) {}

func createTemp(dir string) (*os.File, error) { return createUnlinked(dir) }

func groupMembers(int) (int, error) { return 0, errors.ErrUnsupported }
