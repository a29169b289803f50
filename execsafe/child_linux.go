// SPDX-License-Identifier: MIT

package execsafe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is a started process and the group that it leads.
//
// It is waited for in two steps. wait returns once it has exited, but leaves it a
// zombie, whose number, and with it the number of its group, cannot be given to
// anybody else; reap takes the exit status. Between the two, the group can be
// signalled without the risk of hitting a stranger. A pidfd that can signal the group
// (Linux 6.9) is a name for it that outlives even that.
type child struct {
	cmd    *exec.Cmd
	sys    *system
	pid    int
	leader bool     // of a process group of its own
	pidfd  *os.File // nil: the kernel has none
	fd     int      // of pidfd, while it is open
	cgroup *cgroup  // nil: not asked for

	mu     sync.Mutex // so that reap does not come between a check of reaped and a signal
	reaped bool
}

// prepare sets what makes cmd's process the leader of its own group, unless the
// caller's own SysProcAttr already says where it belongs.
func prepare(cmd *exec.Cmd, r *Runner) (leader bool, cg *cgroup, err error) {
	var attr syscall.SysProcAttr
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	switch {
	case attr.Setsid, attr.Setpgid && attr.Pgid == 0, attr.Foreground && attr.Pgid == 0:
		leader = true
	case r.Foreground, attr.Setpgid, attr.Foreground:
	default:
		attr.Setpgid, leader = true, true
	}
	if r.DieWithParent {
		attr.Pdeathsig = syscall.SIGKILL
	}
	if r.Cgroup != "" {
		if cg, err = newCgroup(r.Cgroup); err != nil {
			return false, nil, err
		}
		attr.UseCgroupFD, attr.CgroupFD = true, int(cg.dir.Fd())
	}
	cmd.SysProcAttr = &attr
	return leader, cg, nil
}

func newChild(cmd *exec.Cmd, sys *system, leader bool, cg *cgroup) *child {
	c := &child{cmd: cmd, sys: sys, pid: cmd.Process.Pid, leader: leader, cgroup: cg}
	if sys.noPidfd {
		return c
	}
	_ = cmd.Process.WithHandle(func(h uintptr) {
		fd, err := unix.FcntlInt(h, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return
		}
		// Only a non-blocking descriptor is waited for by the runtime's poller,
		// that is, without a thread. The flag is shared with os.Process, which is
		// not asked to wait before there is something to collect.
		if err := unix.SetNonblock(fd, true); err != nil {
			_ = unix.Close(fd)
			return
		}
		c.pidfd, c.fd = os.NewFile(uintptr(fd), "pidfd"), fd
	})
	return c
}

// wait returns when the child has exited. It does not reap it.
func (c *child) wait() {
	if c.pidfd != nil {
		if rc, err := c.pidfd.SyscallConn(); err == nil {
			if rc.Read(func(uintptr) bool { return c.exited() }) == nil {
				return
			}
		}
	}
	for {
		err := unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// exited reports whether reap would not wait, without waiting itself.
func (c *child) exited() bool {
	kind, id := unix.P_PID, c.pid
	if c.pidfd != nil {
		kind, id = unix.P_PIDFD, c.fd
	}
	for {
		var info unix.Siginfo
		err := unix.Waitid(kind, id, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		return err == unix.ECHILD || err == nil && info.Signo != 0
	}
}

// kill sends sig to the whole group, or to the child alone if it leads none.
// It returns [os.ErrProcessDone] if nobody is left that could be meant.
func (c *child) kill(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader {
		if err, ok := c.pidfdKill(sig); ok {
			return done(err)
		}
	}
	if c.reaped {
		return os.ErrProcessDone
	}
	if c.leader {
		return done(unix.Kill(-c.pid, sig))
	}
	return done(c.cmd.Process.Signal(sig))
}

// signal sends one of the caller's own choice.
func (c *child) signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("%w: signal %v", ErrInvalid, sig)
	}
	return c.sys.kill(c, s)
}

func done(err error) error {
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// pidfdKill signals the group through the pidfd, if the kernel can.
func (c *child) pidfdKill(sig syscall.Signal) (err error, ok bool) {
	if c.pidfd == nil || c.sys.noPidfdGroup {
		return nil, false
	}
	const group = 1 << 2 // PIDFD_SIGNAL_PROCESS_GROUP
	err = unix.PidfdSendSignal(c.fd, sig, nil, group)
	return err, err != unix.EINVAL && err != unix.ENOSYS && err != unix.EPERM
}

// outlivesReap reports whether the group can still be named once its leader has
// been reaped.
func (c *child) outlivesReap() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.pidfdKill(0)
	return ok
}

// terminate asks the group to end. A stopped process takes SIGTERM only when it
// goes on.
func (c *child) terminate() error {
	if err := c.sys.kill(c, syscall.SIGTERM); err != nil {
		return err
	}
	return c.sys.kill(c, syscall.SIGCONT)
}

// killAll kills the group, and what has left it but not its cgroup.
func (c *child) killAll() error {
	err := c.sys.kill(c, syscall.SIGKILL)
	if c.cgroup != nil {
		err = errors.Join(err, c.cgroup.kill())
	}
	return err
}

// members counts the processes of the group (and of the cgroup), besides the child
// itself, that are not dead; -1 if there may be some. It is only called after the
// child has exited.
func (c *child) members() int {
	if c.cgroup != nil {
		return c.cgroup.members()
	}
	if !c.leader {
		return 0
	}
	if c.reaped { // only reap's own goroutine asks
		if c.sys.kill(c, 0) == os.ErrProcessDone {
			return 0
		}
	}
	n, err := c.sys.members(c.pid)
	if err != nil && n == 0 {
		return -1
	}
	return n
}

// reap takes the exit status. It may wait, but not after wait has returned.
func (c *child) reap() (*os.ProcessState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.cmd.Wait()
	c.reaped = true
	if c.cmd.ProcessState != nil {
		return c.cmd.ProcessState, nil
	}
	_ = c.cmd.Process.Release() // a Wait that fails leaves its pidfd to the garbage collector
	return nil, err
}

// close gives back what the child needed. With leave, the processes in its cgroup
// stay there, and so does the cgroup.
func (c *child) close(leave bool, patience time.Duration) error {
	c.mu.Lock()
	if c.pidfd != nil {
		_ = c.pidfd.Close()
		c.pidfd = nil
	}
	c.mu.Unlock()
	if c.cgroup == nil {
		return nil
	}
	if err := c.cgroup.close(leave, patience); err != nil {
		return fmt.Errorf("removing cgroup: %w", err)
	}
	return nil
}

func maxRSS(ps *os.ProcessState) int64 {
	if u, ok := ps.SysUsage().(*syscall.Rusage); ok {
		return int64(u.Maxrss) << 10
	}
	return 0
}

// unread returns how many bytes wait in a pipe.
func unread(fd uintptr) int {
	n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	if err != nil {
		return 1 << 20 // what an unprivileged pipe holds at most
	}
	return n
}

// widen has a pipe hold two chunks, if it holds less and the kernel lets it.
func widen(fd uintptr) {
	if n, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err == nil && n < 2*chunkSize {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 2*chunkSize)
	}
}

// createTemp makes a file that has no name.
func createTemp(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err == nil || !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.ENOENT) {
		return f, err
	}
	return createUnlinked(dir)
}
