// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveWindow reads tcpi_rcv_wnd, which Linux 6.2 added. It asks for the length
// too, which unix.GetsockoptTCPInfo does not return: an older kernel leaves the
// field out, and that must not look like a window of zero.
func receiveWindow(raw syscall.RawConn) (w window, ok bool) {
	const need = unsafe.Offsetof(unix.TCPInfo{}.Rcv_wnd) + unsafe.Sizeof(unix.TCPInfo{}.Rcv_wnd)
	err := raw.Control(func(fd uintptr) {
		var info unix.TCPInfo
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && uintptr(size) >= need
		w = window{zero: info.Rcv_wnd == 0, idle: time.Duration(info.Last_data_recv) * time.Millisecond}
	})
	return w, ok && err == nil
}
