// SPDX-License-Identifier: MIT

package sockowner

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBothEndsOfEveryFamily(t *testing.T) {
	t.Parallel()
	me := uint32(os.Geteuid())
	mapped := func(addr string) (net.Conn, error) { // as a dual-stack client, such as Java's, connects
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), "mapped")
		defer f.Close()
		ap := netip.MustParseAddrPort(addr)
		if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}); err != nil {
			return nil, err
		}
		return net.FileConn(f)
	}
	for name, tc := range map[string]struct {
		network, addr string
		dial          func(string) (net.Conn, error)
	}{
		"IPv4":                      {network: "tcp4", addr: "127.0.0.1:0"},
		"IPv4, other addresses":     {network: "tcp4", addr: "127.0.0.77:0"},
		"IPv6":                      {network: "tcp6", addr: "[::1]:0"},
		"IPv4 to an IPv6 listener":  {network: "tcp", addr: "[::]:0", dial: toLoopback},
		"IPv4-mapped client":        {network: "tcp4", addr: "127.0.0.1:0", dial: mapped}, // G34
		"bound to a device":         {network: "tcp4", addr: "127.0.0.1:0", dial: onLoopbackDevice},
		"bound to a device in IPv6": {network: "tcp6", addr: "[::1]:0", dial: onLoopbackDevice},
		"MPTCP client":              {network: "tcp4", addr: "127.0.0.1:0", dial: multipath}, // G37
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t, tc.network, tc.addr, tc.dial)
			if name == "MPTCP client" {
				if on, err := p.server.MultipathTCP(); err != nil || !on {
					t.Skipf("no MPTCP here: %v, %v", on, err)
				}
			}
			local, remote := end(p.client)
			owns(t, local, remote, me, inode(t, p.client))
			owns(t, remote, local, me, inode(t, p.server))

			// G34: the same address in its other form.
			if local.Addr().Unmap().Is4() {
				mapped := func(a netip.AddrPort) netip.AddrPort {
					return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
				}
				owns(t, mapped(local), mapped(remote), me, inode(t, p.client))
				owns(t, mapped(local), remote, me, inode(t, p.client))
			}

			// The public functions, in the right direction. // B31
			if o, err := Peer(p.server); err != nil || o != (Owner{me, inode(t, p.client), Established}) {
				t.Errorf("Peer(server) = %+v, %v, want the client's", o, err)
			}
			if o, err := Peer(p.client); err != nil || o != (Owner{me, inode(t, p.server), Established}) {
				t.Errorf("Peer(client) = %+v, %v, want the server's", o, err)
			}
		})
	}
}

func toLoopback(addr string) (net.Conn, error) {
	_, port, _ := net.SplitHostPort(addr)
	return net.Dial("tcp4", net.JoinHostPort("127.0.0.1", port))
}

func multipath(addr string) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(true)
	return d.Dial("tcp", addr)
}

func onLoopbackDevice(addr string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "lo") }), err)
	}}
	return d.Dial("tcp", addr)
}

// TestTwoUsers has the two ends owned by two users, neither of them root's. // B31
func TestTwoUsers(t *testing.T) {
	t.Parallel()
	needRoot(t, "makes sockets for other users")
	const alice, bob = 4001, 4002
	var p pair
	err := asUser(bob, func() error {
		p = connect(t, "tcp4", "127.0.0.1:0", dialAs(alice))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if o, err := Peer(p.server); err != nil || o.UID != alice {
		t.Errorf("Peer(bob's end) = %+v, %v, want alice", o, err)
	}
	if o, err := Peer(p.client); err != nil || o.UID != bob {
		t.Errorf("Peer(alice's end) = %+v, %v, want bob", o, err)
	}
	local, remote := end(p.client)
	owns(t, local, remote, alice, inode(t, p.client))
	owns(t, remote, local, bob, inode(t, p.server))
}

// TestAddressesAreNotModified asks twice, as an identd does for two jobs. // G33
func TestAddressesAreNotModified(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		p := connect(t, "tcp", addr, nil)
		l, r := p.server.LocalAddr().(*net.TCPAddr), p.server.RemoteAddr().(*net.TCPAddr)
		before := []string{l.String(), r.String()}
		ips := [][]byte{slices.Clone(l.IP), slices.Clone(r.IP)}
		first, err := Peer(p.server)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := Peer(p.server); err != nil || second != first {
			t.Errorf("second Peer = %+v, %v, want %+v", second, err, first)
		}
		if after := []string{p.server.LocalAddr().String(), p.server.RemoteAddr().String()}; !slices.Equal(before, after) {
			t.Errorf("addresses were %v, are %v", before, after)
		}
		if !slices.Equal(l.IP, ips[0]) || !slices.Equal(r.IP, ips[1]) {
			t.Errorf("addresses' bytes were %v, are %v", ips, [][]byte{l.IP, r.IP})
		}
	}
}

// TestListenerIsNoConnection: sock_diag answers with the listener where there is no
// connection, and whoever believed it would give a stranger the listener's name. // G35
func TestListenerIsNoConnection(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Logf("skipping %s: %v", addr, err)
			continue
		}
		defer l.Close()
		local := l.Addr().(*net.TCPAddr).AddrPort()
		bogus := netip.AddrPortFrom(local.Addr(), 1)
		if local.Addr().IsUnspecified() {
			local = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), local.Port())
			bogus = netip.MustParseAddrPort("10.9.8.7:6543")
		}
		if o, err := Lookup(local, bogus); !errors.Is(err, ErrNotFound) || o != (Owner{UID: NoUID}) {
			t.Errorf("%s: Lookup(%v, %v) = %+v, %v, want ErrNotFound", addr, local, bogus, o, err)
		}
		for _, w := range ways() {
			if o, err := w.ask(local, bogus); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %s: %+v, %v, want ErrNotFound", addr, w.name, o, err)
			}
		}
	}
}

func TestNearMissesAreNotFound(t *testing.T) {
	t.Parallel()
	p := connect(t, "tcp4", "127.0.0.1:0", nil)
	local, remote := end(p.client)
	other := netip.MustParseAddr("127.0.0.9")
	for name, q := range map[string][2]netip.AddrPort{
		"another local address":  {netip.AddrPortFrom(other, local.Port()), remote},
		"another remote address": {local, netip.AddrPortFrom(other, remote.Port())},
		"another local port":     {netip.AddrPortFrom(local.Addr(), 1), remote},
		"another remote port":    {local, netip.AddrPortFrom(remote.Addr(), 1)},
		"the same in IPv6":       {netip.AddrPortFrom(netip.IPv6Loopback(), local.Port()), netip.AddrPortFrom(netip.IPv6Loopback(), remote.Port())},
	} {
		for _, w := range ways() {
			if o, err := w.ask(q[0], q[1]); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s, %s: %+v, %v, want ErrNotFound", name, w.name, o, err)
			}
		}
	}
	_, err := Lookup(netip.AddrPortFrom(other, local.Port()), remote)
	if want := "127.0.0.9:"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v does not name the address asked for", err)
	}
}

func TestUnknownZoneIsNamed(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddrPort("[fe80::1%nosuch0]:1")
	_, err := Lookup(a, a)
	if e, ok := errors.AsType[*net.AddrError](err); !ok || e.Addr != "nosuch0" {
		t.Errorf("Lookup = %v, want a *net.AddrError for nosuch0", err)
	}
}

// TestLookupsLeakNothing also lets the race detector see concurrent lookups.
func TestLookupsLeakNothing(t *testing.T) {
	p := connect(t, "tcp4", "127.0.0.1:0", nil)
	want := inode(t, p.client)
	open := func() int {
		dir, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(dir)
	}
	before := open()
	local, remote := end(p.client)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if o, err := Peer(p.server); err != nil || o.Inode != want {
					t.Errorf("Peer = %+v, %v, want inode %d", o, err, want)
					return
				}
				Lookup(remote, netip.MustParseAddrPort("127.0.0.9:1"))
			}
			kernel.proc(tuple{local, remote})
		})
	}
	wg.Wait()
	if after := open(); after > before {
		t.Errorf("%d descriptors open, were %d", after, before)
	}
}

// TestSocketIsCloseOnExec looks at the descriptor while a lookup holds it.
func TestSocketIsCloseOnExec(t *testing.T) {
	t.Parallel()
	c, err := kernel.dial()
	if err != nil {
		t.Skipf("no sock_diag here: %v", err)
	}
	defer c.close()
	flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags = %#x, %v, want FD_CLOEXEC", flags, err)
	}
}

// TestPeerOfMultipathListener is the server that Go makes without being asked. // G37
func TestPeerOfMultipathListener(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	l, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, dial := range map[string]func(string) (net.Conn, error){"plain client": toLoopback, "MPTCP client": multipath} {
		client, err := dial(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if o, err := Peer(server); err != nil || o.Inode != inode(t, client.(*net.TCPConn)) {
			t.Errorf("%s: Peer = %+v, %v, want inode %d", name, o, err, inode(t, client.(*net.TCPConn)))
		}
		if o, err := Peer(client); err != nil || o.Inode != inode(t, server.(*net.TCPConn)) {
			t.Errorf("%s: Peer(client) = %+v, %v, want inode %d", name, o, err, inode(t, server.(*net.TCPConn)))
		}
	}
}
