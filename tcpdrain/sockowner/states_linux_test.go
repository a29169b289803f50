// SPDX-License-Identifier: MIT

package sockowner

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwnerInEveryState takes a client's end through the states while its process
// holds it. The owner is the same in all of them. // G36, incident 2b
func TestOwnerInEveryState(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		state State
		reach func(t *testing.T, p pair)
	}{
		{Established, func(t *testing.T, p pair) {}},
		{FinWait1, func(t *testing.T, p pair) { fill(t, p.client); p.client.CloseWrite() }},
		{FinWait2, func(t *testing.T, p pair) { p.client.CloseWrite() }},
		{CloseWait, func(t *testing.T, p pair) { p.server.CloseWrite() }},
		{LastAck, func(t *testing.T, p pair) {
			fill(t, p.client)
			p.server.CloseWrite()
			until(t, "CLOSE_WAIT", func() bool { o, _ := Peer(p.server); return o.State == CloseWait })
			p.client.CloseWrite()
		}},
		{Closing, func(t *testing.T, p pair) { fill(t, p.client); p.client.CloseWrite(); p.server.CloseWrite() }},
	} {
		t.Run(tc.state.String(), func(t *testing.T) {
			t.Parallel()
			uid, dial := os.Geteuid(), toLoopback
			if uid == 0 {
				uid = 4003
				dial = dialAs(uid)
			}
			p := connect(t, "tcp4", "127.0.0.1:0", dial)
			local, remote := end(p.client)
			tc.reach(t, p)
			until(t, tc.state.String(), func() bool { o, _ := Lookup(local, remote); return o.State == tc.state })
			owns(t, local, remote, uint32(uid), inode(t, p.client))
			if o, err := Peer(p.server); err != nil || o.State != tc.state {
				t.Errorf("Peer = %+v, %v, want state %v", o, err, tc.state)
			}
		})
	}
}

// TestOwnerWhileConnecting: the listener's queue is full, so nobody answers the SYN.
func TestOwnerWhileConnecting(t *testing.T) {
	t.Parallel()
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	loopback := [4]byte{127, 0, 0, 1}
	if err := errors.Join(unix.Bind(l, &unix.SockaddrInet4{Addr: loopback}), unix.Listen(l, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(name.(*unix.SockaddrInet4).Port)
	remote := netip.AddrPortFrom(netip.AddrFrom4(loopback), port)
	for range 8 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, name); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		own, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		local := netip.AddrPortFrom(netip.AddrFrom4(loopback), uint16(own.(*unix.SockaddrInet4).Port))
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		owns(t, local, remote, uint32(os.Geteuid()), st.Ino)
		if o, err := Lookup(local, remote); err == nil && o.State == SynSent {
			return
		}
		// Connected, but not yet accepted: the other end has no process, and unless
		// the kernel kept the listener's user for it, no owner.
		if o, err := Lookup(remote, local); err == nil && (o.UID == 0 || o.UID != uint32(os.Geteuid())) {
			t.Errorf("owner of the end not yet accepted = %+v, want the listener's, or ErrNoOwner", o)
		} else if err != nil && !errors.Is(err, ErrNoOwner) {
			t.Error(err)
		}
	}
	t.Error("never saw SYN_SENT")
}

// TestOrphans closes the client's end, so that no process holds it. The kernel keeps
// the user of some of them; root it must never be. // G36
func TestOrphans(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		state State
		reach func(t *testing.T, p pair)
	}{
		"closed with data unsent": {FinWait1, func(t *testing.T, p pair) { fill(t, p.client); p.client.Close() }},
		"closed":                  {FinWait2, func(t *testing.T, p pair) { p.client.Close() }},
		"closed by both, us first": {TimeWait, func(t *testing.T, p pair) {
			p.client.Close()
			until(t, "FIN_WAIT2", stateIs(p, FinWait2))
			p.server.Close()
		}},
		"closed last, data unsent": {LastAck, func(t *testing.T, p pair) {
			fill(t, p.client)
			p.server.CloseWrite()
			until(t, "CLOSE_WAIT", stateIs(p, CloseWait))
			p.client.Close()
		}},
	} {
		for _, who := range []string{"root's", "another user's"} {
			t.Run(name+", "+who, func(t *testing.T) {
				t.Parallel()
				uid, dial := os.Geteuid(), toLoopback
				switch {
				case who == "another user's" && uid == 0:
					uid = 4004
					dial = dialAs(uid)
				case who == "root's" && uid != 0:
					t.Skip("needs root: makes root's sockets")
				}
				p := connect(t, "tcp4", "127.0.0.1:0", dial)
				local, remote := end(p.client)
				tc.reach(t, p)
				until(t, tc.state.String(), func() bool { o, _ := Lookup(local, remote); return o.State == tc.state })

				o, err := Lookup(local, remote)
				switch {
				case errors.Is(err, ErrNoOwner) && o.UID == NoUID && o.Inode == 0 && o.State == tc.state:
				case err == nil && uid != 0 && o.UID == uint32(uid) && o.Inode == 0: // newer kernels remember
				default:
					t.Errorf("Lookup = %+v, %v, want ErrNoOwner, or uid %d if that is not 0", o, err, uid)
				}
				for _, w := range ways() {
					if way, err := w.ask(local, remote); err == nil && way != o || err != nil && !errors.Is(err, ErrNoOwner) {
						t.Errorf("%s: %+v, %v, Lookup said %+v", w.name, way, err, o)
					}
				}
			})
		}
	}
}

func stateIs(p pair, want State) func() bool {
	local, remote := end(p.client)
	return func() bool { o, _ := Lookup(local, remote); return o.State == want }
}
