// SPDX-License-Identifier: MIT

package sockowner

import (
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A system is the calls that ask the kernel; tests answer in its place.
// All of them work in the network namespace of the calling thread.
type system struct {
	socket     func() (fd int, err error)
	send       func(fd int, msg []byte) error
	recv       func(fd int, buf []byte) (n int, sender uint32, err error) // n > len(buf): cut off
	wait       func(fd int, limit time.Duration) error                    // nil: maybe readable
	close      func(fd int) error
	interfaces func() ([]net.Interface, error)
	open       func(name string) (io.ReadCloser, error)
}

var kernel = &system{
	socket: func() (int, error) {
		return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	},
	send: func(fd int, msg []byte) error {
		_, err := unix.Write(fd, msg) // an unconnected netlink socket writes to the kernel
		return err
	},
	recv: func(fd int, buf []byte) (int, uint32, error) {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_TRUNC)
		if nl, ok := from.(*unix.SockaddrNetlink); ok {
			return n, nl.Pid, err
		}
		return n, ^uint32(0), err
	},
	wait: func(fd int, limit time.Duration) error {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds())+1)
		return err
	},
	close:      unix.Close,
	interfaces: net.Interfaces,
	open:       func(name string) (io.ReadCloser, error) { return os.Open(name) },
}
