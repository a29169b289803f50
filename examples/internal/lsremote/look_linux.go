// SPDX-License-Identifier: MIT

package lsremote

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// look names the system call that process pid is blocked in, from
// /proc/pid/syscall (proc_pid_syscall(5)), and counts what waits in the pipe.
func look(pid int, r *os.File) stuck {
	var s stuck
	var nr, fd uint64
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if _, err := fmt.Sscanf(string(line), "%d 0x%x", &nr, &fd); err == nil && nr == unix.SYS_WRITE {
		s.call = fmt.Sprintf("write(%d)", fd)
	} else if wchan, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid)); len(wchan) > 1 {
		s.call = string(wchan) // the kernel function, where the call is not ours to see
	}
	conn, err := r.SyscallConn()
	if err == nil {
		conn.Control(func(fd uintptr) { s.inPipe, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	if s.inPipe == 0 {
		s.call = "" // nothing in its way: it is busy, not stuck
	}
	return s
}
