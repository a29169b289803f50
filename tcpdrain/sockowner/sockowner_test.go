// SPDX-License-Identifier: MIT

package sockowner_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/sockowner"
)

func TestBadAddressesAreNamed(t *testing.T) {
	t.Parallel()
	good := netip.MustParseAddrPort("127.0.0.1:80")
	for name, tc := range map[string]struct {
		local, remote netip.AddrPort
		want          string
	}{
		"no address":      {netip.AddrPort{}, good, "not an address"},
		"no port":         {good, netip.MustParseAddrPort("10.0.0.1:0"), "10.0.0.1:0"},
		"two families":    {good, netip.MustParseAddrPort("[::1]:80"), "family"},
		"two zones":       {netip.MustParseAddrPort("[fe80::1%a]:1"), netip.MustParseAddrPort("[fe80::2%b]:2"), "zone"},
		"mapped and IPv6": {netip.MustParseAddrPort("[::ffff:127.0.0.1]:1"), netip.MustParseAddrPort("[::1]:80"), "family"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := sockowner.Lookup(tc.local, tc.remote)
			if _, ok := errors.AsType[*net.AddrError](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Lookup = %v, want a *net.AddrError with %q", err, tc.want)
			}
			if o.UID != sockowner.NoUID {
				t.Errorf("UID = %d with an error, want NoUID", o.UID)
			}
		})
	}
}

// A strangeConn has whatever addresses a test wants.
type strangeConn struct {
	net.Conn
	local, remote net.Addr
}

func (c strangeConn) LocalAddr() net.Addr  { return c.local }
func (c strangeConn) RemoteAddr() net.Addr { return c.remote }

func TestPeerOfWhatIsNotTCPIsNamed(t *testing.T) {
	t.Parallel()
	tcp := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	pipe, other := net.Pipe()
	t.Cleanup(func() { pipe.Close(); other.Close() })
	for name, tc := range map[string]struct {
		conn net.Conn
		want string
	}{
		"net.Pipe":    {pipe, "not a TCP address"},
		"unix":        {strangeConn{local: tcp, remote: &net.UnixAddr{Net: "unix", Name: "/run/x"}}, "unix /run/x"},
		"udp":         {strangeConn{local: tcp, remote: &net.UDPAddr{IP: tcp.IP, Port: 53}}, "udp 127.0.0.1:53"},
		"nil address": {strangeConn{local: tcp}, "no address"},
		"nil pointer": {strangeConn{local: (*net.TCPAddr)(nil), remote: tcp}, "no address"},
		"empty":       {strangeConn{local: &net.TCPAddr{}, remote: tcp}, "not an address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := sockowner.Peer(tc.conn)
			if _, ok := errors.AsType[*net.AddrError](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Peer = %v, want a *net.AddrError with %q", err, tc.want)
			}
			if o.UID != sockowner.NoUID {
				t.Errorf("UID = %d with an error, want NoUID", o.UID)
			}
		})
	}
}

func TestElsewhereIsUnsupported(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "linux" {
		t.Skip("this is Linux")
	}
	a := netip.MustParseAddrPort("127.0.0.1:80")
	if o, err := sockowner.Lookup(a, a); !errors.Is(err, errors.ErrUnsupported) || o.UID != sockowner.NoUID {
		t.Errorf("Lookup = %+v, %v, want ErrUnsupported", o, err)
	}
}

func TestStateNames(t *testing.T) {
	t.Parallel()
	for state, want := range map[sockowner.State]string{
		sockowner.Established: "ESTABLISHED", sockowner.FinWait1: "FIN_WAIT1", sockowner.Closing: "CLOSING",
		0: "State(0)", 12: "State(12)", 255: "State(255)",
	} {
		if got := state.String(); got != want {
			t.Errorf("State(%d) = %q, want %q", uint8(state), got, want)
		}
	}
	for s := sockowner.Established; s <= sockowner.Closing; s++ {
		if strings.HasPrefix(s.String(), "State") || s.String() == "" {
			t.Errorf("State(%d) has no name", uint8(s))
		}
	}
}
