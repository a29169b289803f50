// SPDX-License-Identifier: MIT

//go:build unix && !linux

package execsafe

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

func prepareGroup(cmd *exec.Cmd, r *Runner) (leader bool) {
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
	return leader
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
