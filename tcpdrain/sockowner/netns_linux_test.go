// SPDX-License-Identifier: MIT

package sockowner

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inNamespace runs fn in a new network namespace with lo up, on a thread that ends
// with it. fn reports by error: it is not on the test's goroutine.
func inNamespace(t *testing.T, fn func() error) {
	t.Helper()
	needRoot(t, "makes network namespaces")
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := unix.Unshare(unix.CLONE_NEWNET)
		if errors.Is(err, unix.EPERM) {
			result <- fmt.Errorf("%w: network namespaces: %w", errors.ErrUnsupported, err)
			return
		}
		if err == nil {
			err = up("lo")
		}
		if err == nil {
			err = fn()
		}
		result <- err
	}()
	if err := <-result; errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// up sets the interface up in the calling thread's namespace.
func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// link makes an interface that exists until the returned descriptor is closed, with
// the link-local address addr.
func link(name string, addr netip.Addr) (fd int, err error) {
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%w: tun devices: %w", errors.ErrUnsupported, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil {
		err = up(name)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%w: IPv6: %w", errors.ErrUnsupported, err)
	}
	defer unix.Close(s)
	dev, err := net.InterfaceByName(name)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	in6 := struct { // struct in6_ifreq
		addr   [16]byte
		prefix uint32
		index  int32
	}{addr.As16(), 64, int32(dev.Index)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&in6))); errno != 0 {
		unix.Close(fd)
		return -1, fmt.Errorf("%w: IPv6 addresses: %w", errors.ErrUnsupported, errno)
	}
	for range 2000 { // until the kernel is sure that nobody else has the address
		err = unix.Bind(s, &unix.SockaddrInet6{Addr: addr.As16(), ZoneId: uint32(dev.Index)})
		if err != unix.EADDRNOTAVAIL {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// pairAs connects local to remote, both fixed, with a client of the user uid.
func pairAs(uid int, local, remote netip.AddrPort) (p pair, err error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(remote))
	if err != nil {
		return pair{}, err
	}
	defer l.Close()
	unix.Setfsuid(uid)
	p.client, err = net.DialTCP("tcp", net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(remote))
	unix.Setfsuid(0)
	if err != nil {
		return pair{}, err
	}
	if p.server, err = l.AcceptTCP(); err != nil {
		p.client.Close()
		return pair{}, err
	}
	return p, nil
}

func (p pair) close() {
	for _, c := range []*net.TCPConn{p.client, p.server} {
		c.SetLinger(0)
		c.Close()
	}
}

// expect checks what way says of the client's end.
func expect(w way, when string, local, remote netip.AddrPort, uid uint32, want error) error {
	o, err := w.ask(local, remote)
	if !errors.Is(err, want) || err == nil && o.UID != uid {
		return fmt.Errorf("%s, %s: owner of %v = %+v, %v, want uid %d, %v", w.name, when, local, o, err, uid, want)
	}
	return nil
}

// TestNamespaces has the same connection in two namespaces, by two users: each
// namespace knows its own, and the process's other threads know neither. // G38
func TestNamespaces(t *testing.T) {
	t.Parallel()
	local, remote := netip.MustParseAddrPort("127.88.99.1:4711"), netip.MustParseAddrPort("127.88.99.1:99")
	both := func(when string, uid uint32, want error) error {
		var errs []error
		for _, w := range ways() {
			errs = append(errs, expect(w, when, local, remote, uid, want))
		}
		return errors.Join(errs...)
	}
	var outside error
	inNamespace(t, func() error {
		first, err := pairAs(4011, local, remote)
		if err != nil {
			return err
		}
		defer first.close()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(home)
		inFirst := both("in the first", 4011, nil)

		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), up("lo")); err != nil {
			return err
		}
		inEmpty := both("in the second, empty", 0, ErrNotFound)
		second, err := pairAs(4012, local, remote)
		if err != nil {
			return err
		}
		defer second.close()
		inSecond := both("in the second", 4012, nil)

		if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
			return err
		}
		back := both("back in the first", 4011, nil)

		done := make(chan struct{})
		go func() { // on another thread, which has not moved
			defer close(done)
			outside = both("outside", 0, ErrNotFound)
		}()
		<-done
		return errors.Join(inFirst, inEmpty, inSecond, back, outside)
	})
}

// TestLinkLocal has the same two addresses on two links, by two users: nothing but
// the zone tells the connections apart, and /proc does not print it.
func TestLinkLocal(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr("fe80::4711")
	at := func(zone string, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr.WithZone(zone), port) }
	inNamespace(t, func() error {
		users := map[string]int{"so0": 4021, "so1": 4022}
		netlink, proc := ways()[0], ways()[1]
		for _, name := range []string{"so0", "so1"} {
			fd, err := link(name, addr)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			p, err := pairAs(users[name], at(name, 4711), at(name, 99))
			if err != nil {
				return err
			}
			defer p.close()
			if o, err := Peer(p.server); err != nil || o.UID != uint32(users[name]) {
				return fmt.Errorf("on %s: Peer = %+v, %v, want uid %d", name, o, err, users[name])
			}
			if name == "so0" { // the only one yet
				if err := errors.Join(
					expect(netlink, "without a zone", at("", 4711), at("", 99), 4021, nil),
					expect(proc, "without a zone", at("", 4711), at("", 99), 4021, nil),
					expect(netlink, "another zone", at("lo", 4711), at("lo", 99), 0, ErrNotFound),
				); err != nil {
					return err
				}
			}
		}
		dev, err := net.InterfaceByName("so1")
		if err != nil {
			return err
		}
		number := fmt.Sprint(dev.Index)
		return errors.Join(
			expect(netlink, "by zone", at("so0", 4711), at("so0", 99), 4021, nil),
			expect(netlink, "by zone", at("so1", 4711), at("so1", 99), 4022, nil),
			expect(netlink, "by index", at(number, 4711), at(number, 99), 4022, nil),
			expect(netlink, "by one zone", at("so1", 4711), at("", 99), 4022, nil),
			expect(netlink, "without a zone", at("", 4711), at("", 99), 0, ErrAmbiguous),
			expect(proc, "without a zone", at("", 4711), at("", 99), 0, ErrAmbiguous),
		)
	})
}
