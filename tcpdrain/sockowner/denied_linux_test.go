// SPDX-License-Identifier: MIT

package sockowner

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// withoutNetlink runs fn on a thread that seccomp(2) lets make no netlink sockets, as
// systemd's RestrictAddressFamilies does, and that ends with it.
func withoutNetlink(fn func()) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // the low half of args[0]
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_NETLINK, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(unix.EAFNOSUPPORT)}, // SECCOMP_RET_ERRNO
		{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000},                             // SECCOMP_RET_ALLOW
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
		}
		if err == nil {
			fn()
		}
		result <- err
	}()
	return <-result
}

func TestNetlinkReallyDenied(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("needs socket(2) with its arguments in registers: amd64 or arm64")
	}
	p := connect(t, "tcp4", "127.0.0.1:0", nil)
	p6 := connect(t, "tcp", "[::]:0", toLoopback)
	want, want6 := inode(t, p.client), inode(t, p6.server)
	local, remote := end(p.client)
	fill(t, p.client)
	p.client.CloseWrite()
	err := withoutNetlink(func() {
		if _, err := kernel.dial(); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("netlink is not denied: %v", err)
		}
		if o, err := Lookup(local, remote); err != nil || o != (Owner{uint32(os.Geteuid()), want, FinWait1}) {
			t.Errorf("Lookup = %+v, %v, want inode %d in FIN_WAIT1", o, err, want)
		}
		if o, err := Peer(p6.client); err != nil || o.Inode != want6 {
			t.Errorf("Peer of an IPv4 client on an IPv6 socket = %+v, %v, want inode %d", o, err, want6)
		}
		if o, err := Lookup(netip.MustParseAddrPort("127.0.0.9:1"), remote); !errors.Is(err, ErrNotFound) {
			t.Errorf("Lookup of nobody = %+v, %v, want ErrNotFound", o, err)
		}
		zoned := netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone("1"), 1)
		if o, err := Lookup(zoned, zoned); !errors.Is(err, unix.EAFNOSUPPORT) || o.UID != NoUID {
			t.Errorf("Lookup with a zone = %+v, %v, want why not", o, err)
		}
	})
	if err != nil {
		t.Skipf("no seccomp here: %v", err)
	}
	if o, err := Lookup(local, remote); err != nil || o.Inode != want {
		t.Errorf("afterwards: %+v, %v", o, err)
	}
}
