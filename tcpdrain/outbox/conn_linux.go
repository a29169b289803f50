// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// unacknowledged returns how many written bytes the peer's kernel has not
// acknowledged (tcp(7), SIOCOUTQ). Once a connection is broken that says nothing.
func unacknowledged(conn net.Conn) (int64, error) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var info *unix.TCPInfo
	cerr := rc.Control(func(fd uintptr) {
		if n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return 0, err
	}
	// States are numbered as in the kernel's include/net/tcp_states.h.
	const established, closeWait = 1, 8
	if info.State != established && info.State != closeWait {
		return 0, unix.ENOTCONN
	}
	return int64(n), nil
}
