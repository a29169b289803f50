// SPDX-License-Identifier: MIT

// Package sockowner says which user owns one end of a TCP connection on this
// machine: the question of an ident server (RFC 1413), or of a local service that
// trusts its clients by user instead of by password.
//
// # Guarantees
//
//   - The answer is about exactly the connection asked for. What the kernel answers
//     is compared with all four parts of it; a listening socket, which the kernel
//     offers when there is no such connection, is never taken for one.
//   - A connection is found in whatever state it is. A client that half-closes at
//     once is in FIN_WAIT1 and has an owner like any other.
//   - Unknown is never root. A connection that no process holds any more (closed and
//     still lingering, TIME_WAIT) is [ErrNoOwner], although the kernel says uid 0; and
//     with every error the UID is [NoUID], so that a forgotten check is not root either.
//   - Addresses given are only read. IPv4 and IPv4-mapped IPv6 addresses are the same.
//   - Every call is bounded in time, holds at most two descriptors (close-on-exec)
//     while it runs, and none afterwards. All functions may be called concurrently.
//
// # What it does not do
//
// It does not authenticate: root can send from any socket, a descriptor can be passed
// to another process, and a set-user-ID program's sockets are its effective user's.
// The answer holds for the moment of the call: after the last close the same two
// addresses may belong to somebody else, so ask while the connection is open.
// It sees one network namespace, the calling thread's: a peer inside a container
// is [ErrNotFound]. UIDs are those of the caller's user namespace; what is not mapped
// there reads as the overflow uid (65534).
//
// # Platforms
//
// Linux: one exact sock_diag(7) query, a few microseconds whatever the number of
// connections; where netlink is denied or lacks the TCP handler, a scan of proc(5)'s
// net/tcp and net/tcp6, which takes milliseconds for thousands of connections.
// A connection that is not found costs one more query for each network interface,
// because sockets bound to a device (SO_BINDTODEVICE, VRF) answer only to its name.
// Elsewhere every lookup fails with [errors.ErrUnsupported].
package sockowner

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// An Owner is who holds one end of a connection.
type Owner struct {
	// UID is the user that made the socket, or NoUID in the company of an error.
	UID uint32
	// Inode is the socket's inode, the number in the link socket:[N] of
	// /proc/PID/fd. It is 0 if no process holds the socket any more and the kernel
	// still remembers whose it was.
	Inode uint64
	// State is the TCP state of that end. Do not ask for Established: it says how
	// far the conversation is, not whose it is.
	State State
}

// NoUID is the UID of an unknown owner. It is the kernel's invalid uid, (uid_t)-1.
const NoUID = ^uint32(0)

var (
	// ErrNotFound: no TCP connection in the caller's network namespace has this
	// local and this remote address.
	ErrNotFound = errors.New("no such connection")
	// ErrNoOwner: the connection exists, but nobody holds it and the kernel does not
	// know who did. Root's own closed connections look no different.
	ErrNoOwner = errors.New("connection has no owner")
	// ErrAmbiguous: several sockets have these two addresses, each bound to another
	// network device, and nothing in the question tells them apart. A zone would.
	ErrAmbiguous = errors.New("several connections have these addresses")
)

// Lookup returns the owner of the TCP connection between local and remote at its
// local end: the socket that has local as its own address and remote as its peer's.
// For the other end, if it is on this machine too, exchange the two; see [Peer].
//
// A zone in either address (fe80::1%eth0) restricts the search to connections over
// that interface; it may be an interface's name or index.
//
// The error wraps [ErrNotFound], [ErrNoOwner] (State is set all the same) or
// [ErrAmbiguous]; a [*net.AddrError] if the addresses cannot be a connection's;
// [errors.ErrUnsupported] on other systems than Linux; or else whatever kept both
// netlink and /proc from answering. Lookup waits at most about a second for netlink;
// in practice it does not block.
func Lookup(local, remote netip.AddrPort) (Owner, error) {
	q, zone, err := newTuple(local, remote)
	if err != nil {
		return Owner{UID: NoUID}, fmt.Errorf("sockowner: %w", err)
	}
	o, err := lookup(q, zone)
	if err != nil {
		return Owner{UID: NoUID, State: o.State}, fmt.Errorf("sockowner: %v connected to %v: %w", local, remote, err)
	}
	return o, nil
}

// Peer returns the owner of the other end of conn: of the local process that conn's
// bytes come from and go to. It is [Lookup] of conn.RemoteAddr() as the local end.
// A peer on another machine, or in another network namespace, is [ErrNotFound].
//
// Peer asks about the addresses and does not touch the connection, so conn may be
// anything that names TCP addresses, a *tls.Conn included; if it does not, the error
// wraps a [*net.AddrError]. conn should be open while Peer runs, and stay open as
// long as the answer matters: it keeps the two addresses from being used again.
func Peer(conn net.Conn) (Owner, error) {
	local, err1 := addrPort(conn.RemoteAddr())
	remote, err2 := addrPort(conn.LocalAddr())
	if err := errors.Join(err1, err2); err != nil {
		return Owner{UID: NoUID}, fmt.Errorf("sockowner: peer: %w", err)
	}
	return Lookup(local, remote)
}

func addrPort(addr net.Addr) (netip.AddrPort, error) {
	tcp, ok := addr.(*net.TCPAddr)
	switch {
	case ok && tcp != nil:
		return tcp.AddrPort(), nil
	case addr == nil || ok:
		return netip.AddrPort{}, &net.AddrError{Err: "connection has no address"}
	default:
		return netip.AddrPort{}, &net.AddrError{Err: "not a TCP address", Addr: addr.Network() + " " + addr.String()}
	}
}

// A tuple is one end of a connection as the kernel's tables have it: both addresses
// of one family, not IPv4-mapped, without zones.
type tuple struct{ local, remote netip.AddrPort }

func newTuple(local, remote netip.AddrPort) (q tuple, zone string, err error) {
	for _, a := range []netip.AddrPort{local, remote} {
		switch z := a.Addr().Unmap().Zone(); {
		case !a.IsValid():
			return q, "", &net.AddrError{Err: "not an address", Addr: a.String()}
		case a.Port() == 0:
			return q, "", &net.AddrError{Err: "no connection has port 0", Addr: a.String()}
		case z == "" || z == zone:
		case zone != "":
			return q, "", &net.AddrError{Err: "zone differs from the other end's, " + zone, Addr: a.String()}
		default:
			zone = z
		}
	}
	q = tuple{plain(local), plain(remote)}
	if q.local.Addr().Is4() != q.remote.Addr().Is4() {
		return q, "", &net.AddrError{Err: "address family differs from the other end's, " + local.String(), Addr: remote.String()}
	}
	return q, zone, nil
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
