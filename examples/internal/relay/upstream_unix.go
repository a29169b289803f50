// SPDX-License-Identifier: MIT

//go:build unix

package relay

import (
	"net"
	"syscall"
)

// sendNow is send(2) without waiting.
func sendNow(conn *net.TCPConn, b []byte) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		n := 0
		for {
			if n, sendErr = syscall.Write(int(fd), b); sendErr != syscall.EINTR {
				break
			}
		}
		if sendErr == syscall.EAGAIN || sendErr == nil && n < len(b) {
			sendErr = errWouldBlock
		}
		return true
	})
	if err != nil {
		return err
	}
	return sendErr
}
