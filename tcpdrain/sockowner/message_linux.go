// SPDX-License-Identifier: MIT

package sockowner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The messages of sock_diag(7): struct nlmsghdr, then struct inet_diag_req_v2 in the
// question and struct inet_diag_msg in the answer. Numbers are in the machine's byte
// order except ports and addresses, which are in the network's.
const (
	headerLen  = 16 // struct nlmsghdr
	requestLen = headerLen + 8 + 48
	entryLen   = 4 + 48 + 20 // struct inet_diag_msg
)

var (
	native       = binary.NativeEndian
	errMalformed = errors.New("malformed")
)

type request struct {
	tuple
	device uint32
	flags  uint16
	states uint32 // bit N: sockets in State N
	seq    uint32
}

func (r request) append(b []byte) []byte {
	family, local, remote := byte(unix.AF_INET6), r.local.Addr().As16(), r.remote.Addr().As16()
	if r.local.Addr().Is4() {
		family = unix.AF_INET
		// An IPv4 address is the first word of four, not the last of a mapped one.
		local, remote = [16]byte(append(local[12:], make([]byte, 12)...)), [16]byte(append(remote[12:], make([]byte, 12)...))
	}
	b = native.AppendUint32(b, requestLen)
	b = native.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = native.AppendUint16(b, r.flags)
	b = native.AppendUint32(b, r.seq)
	b = native.AppendUint32(b, 0) // sender: the kernel fills it in

	b = append(b, family, unix.IPPROTO_TCP, 0, 0) // no extensions; padding
	b = native.AppendUint32(b, r.states)

	b = binary.BigEndian.AppendUint16(b, r.local.Port())
	b = binary.BigEndian.AppendUint16(b, r.remote.Port())
	b = append(b, local[:]...)
	b = append(b, remote[:]...)
	b = native.AppendUint32(b, r.device)
	b = native.AppendUint32(b, ^uint32(0)) // INET_DIAG_NOCOOKIE: whatever its cookie
	return native.AppendUint32(b, ^uint32(0))
}

// A message is one answer: an entry if kind is SOCK_DIAG_BY_FAMILY, an errno (or 0) if
// it is NLMSG_ERROR or NLMSG_DONE.
type message struct {
	kind  uint16
	entry entry
	errno unix.Errno
}

// err describes a message that was not expected.
func (m message) err() error {
	if m.errno != 0 {
		return m.errno
	}
	return fmt.Errorf("netlink reply of type %d: %w", m.kind, errMalformed)
}

// parse returns the first message in the datagram b that answers the question seq;
// ok is false if there is none.
func parse(b []byte, seq uint32) (m message, ok bool, err error) {
	for len(b) > 0 {
		if len(b) < headerLen {
			return m, false, fmt.Errorf("netlink header of %d bytes: %w", len(b), errMalformed)
		}
		size := native.Uint32(b)
		if size < headerLen || uint64(size) > uint64(len(b)) {
			return m, false, fmt.Errorf("netlink reply of length %d in %d: %w", size, len(b), errMalformed)
		}
		if native.Uint32(b[8:]) == seq {
			m, err = parseBody(native.Uint16(b[4:]), b[headerLen:size])
			return m, err == nil, err
		}
		b = b[min(uint64(len(b)), (uint64(size)+3)&^3):]
	}
	return m, false, nil
}

func parseBody(kind uint16, body []byte) (message, error) {
	m := message{kind: kind}
	switch {
	case kind == unix.SOCK_DIAG_BY_FAMILY && len(body) >= entryLen:
		var err error
		m.entry, err = parseEntry(body)
		return m, err
	case (kind == unix.NLMSG_ERROR || kind == unix.NLMSG_DONE) && len(body) >= 4:
		if code := int32(native.Uint32(body)); code < 0 {
			m.errno = unix.Errno(-int64(code))
		}
		return m, nil
	default:
		return message{}, fmt.Errorf("netlink reply of type %d, %d bytes: %w", kind, len(body), errMalformed)
	}
}

// parseEntry reads a struct inet_diag_msg, which b holds whole.
func parseEntry(b []byte) (entry, error) {
	var local, remote netip.Addr
	switch b[0] {
	case unix.AF_INET:
		local, remote = netip.AddrFrom4([4]byte(b[8:])), netip.AddrFrom4([4]byte(b[24:]))
	case unix.AF_INET6: // also of an IPv4 connection on an IPv6 socket, with mapped addresses
		local, remote = netip.AddrFrom16([16]byte(b[8:])).Unmap(), netip.AddrFrom16([16]byte(b[24:])).Unmap()
	default:
		return entry{}, fmt.Errorf("address family %d: %w", b[0], errMalformed)
	}
	return entry{
		tuple: tuple{
			netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:])),
			netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[6:])),
		},
		state:  State(b[1]),
		device: native.Uint32(b[40:]),
		uid:    native.Uint32(b[64:]),
		inode:  uint64(native.Uint32(b[68:])),
	}, nil
}
