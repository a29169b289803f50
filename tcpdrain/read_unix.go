// SPDX-License-Identifier: MIT

//go:build unix

package tcpdrain

import "syscall"

// polls reports that RawConn.Read waits for readability on this platform.
const polls = true

const errAgain = syscall.EAGAIN

// readFD is syscall.Read and not unix.Read, which the race detector would hold to
// be in conflict with a Write by net.Conn on the same socket.
func readFD(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }
