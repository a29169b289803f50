// SPDX-License-Identifier: MIT

package sockowner

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

// A fake is a kernel that answers as it is told. Errors and replies are used up one
// for each call; without one, calls succeed, and there is nothing to receive.
type fake struct {
	socket, send, wait []error
	replies            []reply
	links              []net.Interface
	linksErr           error
	tables             []map[string]string // by name, for each scan in turn; the last one stays
	onCall             func(name string)   // before each call

	requests   []request // as parsed from what was sent
	open       int       // descriptors
	tablesRead []string
}

// A reply is what one recv gives, in answer to the question seq.
type reply func(seq uint32) (datagram []byte, sender uint32, err error)

func next(errs *[]error) (err error) {
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

func (f *fake) system(t *testing.T) *system {
	t.Cleanup(func() {
		if f.open != 0 {
			t.Errorf("%d descriptors left open", f.open)
		}
	})
	call := func(name string) {
		if f.onCall != nil {
			f.onCall(name)
		}
	}
	return &system{
		socket: func() (int, error) {
			call("socket")
			if err := next(&f.socket); err != nil {
				return -1, err
			}
			f.open++
			return 9, nil
		},
		send: func(_ int, msg []byte) error {
			call("send")
			f.requests = append(f.requests, readRequest(t, msg))
			return next(&f.send)
		},
		recv: func(_ int, buf []byte) (int, uint32, error) {
			call("recv")
			if len(f.replies) == 0 {
				return 0, 0, unix.EAGAIN
			}
			r := f.replies[0]
			f.replies = f.replies[1:]
			msg, sender, err := r(f.requests[len(f.requests)-1].seq)
			copy(buf, msg)
			return len(msg), sender, err
		},
		wait: func(_ int, limit time.Duration) error {
			call("wait")
			if err := next(&f.wait); err != nil {
				return err
			}
			time.Sleep(limit)
			return nil
		},
		close: func(int) error {
			call("close")
			f.open--
			return nil
		},
		interfaces: func() ([]net.Interface, error) {
			call("interfaces")
			return f.links, f.linksErr
		},
		open: func(name string) (io.ReadCloser, error) {
			call("open")
			table, ok := strings.CutPrefix(name, "/proc/thread-self/net/")
			if !ok {
				t.Errorf("opened %s, which is not the calling thread's", name)
			}
			f.tablesRead = append(f.tablesRead, table)
			if len(f.tables) == 0 {
				return nil, &fs.PathError{Op: "open", Path: name, Err: unix.EACCES}
			}
			text, ok := f.tables[0][table]
			if len(f.tables) > 1 && table == "tcp6" {
				f.tables = f.tables[1:]
			}
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: name, Err: unix.ENOENT}
			}
			f.open++
			return closer{iotest.HalfReader(strings.NewReader(text)), f}, nil
		},
	}
}

type closer struct {
	io.Reader
	f *fake
}

func (c closer) Close() error { c.f.open--; return nil }

// rawRequest is struct nlmsghdr and struct inet_diag_req_v2, field by field.
type rawRequest struct {
	Len           uint32
	Type, Flags   uint16
	Seq, Pid      uint32
	Family, Proto uint8
	Ext, Pad      uint8
	States        uint32
	Ports         [4]byte // in the network's order
	Src, Dst      [16]byte
	If            uint32
	Cookie        [2]uint32
}

func readRequest(t *testing.T, msg []byte) request {
	t.Helper()
	var raw rawRequest
	n, err := binary.Decode(msg, binary.NativeEndian, &raw)
	if err != nil || n != len(msg) || raw.Len != uint32(n) || raw.Type != unix.SOCK_DIAG_BY_FAMILY ||
		raw.Proto != unix.IPPROTO_TCP || raw.Cookie != [2]uint32{^uint32(0), ^uint32(0)} || raw.Ext != 0 {
		t.Errorf("request %+v of %d bytes: %v", raw, len(msg), err)
	}
	src, dst := netip.AddrFrom16(raw.Src), netip.AddrFrom16(raw.Dst)
	if raw.Family == unix.AF_INET {
		src, dst = netip.AddrFrom4([4]byte(raw.Src[:4])), netip.AddrFrom4([4]byte(raw.Dst[:4]))
	} else if raw.Family != unix.AF_INET6 {
		t.Errorf("request for family %d", raw.Family)
	}
	return request{
		tuple: tuple{
			netip.AddrPortFrom(src, binary.BigEndian.Uint16(raw.Ports[:])),
			netip.AddrPortFrom(dst, binary.BigEndian.Uint16(raw.Ports[2:])),
		},
		device: raw.If, flags: raw.Flags, states: raw.States, seq: raw.Seq,
	}
}

// rawEntry is struct inet_diag_msg, field by field.
type rawEntry struct {
	Family, State, Timer, Retrans uint8
	Ports                         [4]byte
	Src, Dst                      [16]byte
	If                            uint32
	Cookie                        [2]uint32
	Expires, Rqueue, Wqueue       uint32
	UID, Inode                    uint32
}

// wire is what the kernel would send for e; a mapped address makes it an IPv6 socket's.
func wire(kind uint16, seq uint32, body any) []byte {
	var payload []byte
	switch body := body.(type) {
	case entry:
		raw := rawEntry{Family: unix.AF_INET6, State: uint8(body.state), If: body.device, UID: body.uid, Inode: uint32(body.inode),
			Src: body.local.Addr().As16(), Dst: body.remote.Addr().As16()}
		if body.local.Addr().Is4() {
			raw.Family = unix.AF_INET
			raw.Src, raw.Dst = [16]byte{}, [16]byte{}
			copy(raw.Src[:], body.local.Addr().AsSlice())
			copy(raw.Dst[:], body.remote.Addr().AsSlice())
		}
		binary.BigEndian.PutUint16(raw.Ports[:], body.local.Port())
		binary.BigEndian.PutUint16(raw.Ports[2:], body.remote.Port())
		payload, _ = binary.Append(nil, binary.NativeEndian, raw)
		payload = append(payload, 5, 0, 8, 0, 0, 0, 0, 0) // an attribute nobody asked for: INET_DIAG_SHUTDOWN
	case unix.Errno:
		payload = native.AppendUint32(nil, uint32(-int32(body)))
	case []byte:
		payload = body
	default:
		panic(fmt.Sprintf("body of type %T", body))
	}
	b := native.AppendUint32(nil, uint32(16+len(payload)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, 0)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, 4711)
	return append(b, payload...)
}

func has(e entry) reply {
	return func(seq uint32) ([]byte, uint32, error) { return wire(unix.SOCK_DIAG_BY_FAMILY, seq, e), 0, nil }
}

func errno(e unix.Errno) reply {
	return func(seq uint32) ([]byte, uint32, error) { return wire(unix.NLMSG_ERROR, seq, e), 0, nil }
}

func done(e unix.Errno) reply {
	return func(seq uint32) ([]byte, uint32, error) { return wire(unix.NLMSG_DONE, seq, e), 0, nil }
}

func fails(e error) reply {
	return func(uint32) ([]byte, uint32, error) { return nil, 0, e }
}

func late(r reply) reply { // an answer to the question before
	return func(seq uint32) ([]byte, uint32, error) { return r(seq - 1) }
}

func forged(r reply) reply { // sent by another process
	return func(seq uint32) ([]byte, uint32, error) {
		b, _, err := r(seq)
		return b, 1234, err
	}
}

func cut(n int, r reply) reply { // to n bytes
	return func(seq uint32) ([]byte, uint32, error) {
		b, sender, err := r(seq)
		return b[:n], sender, err
	}
}

// row prints e as proc(5) does.
func row(e entry) string {
	hexAddr := func(a netip.AddrPort) string {
		var s strings.Builder
		for b := a.Addr().AsSlice(); len(b) > 0; b = b[4:] {
			s.WriteString(fmt.Sprintf("%08X", native.Uint32(b)))
		}
		return fmt.Sprintf("%s:%04X", s.String(), a.Port())
	}
	return fmt.Sprintf("   0: %s %s %02X 00000000:00000000 00:00000000 00000000 %5d        0 %d 1 0000000000000000 20 4 30 10 -1\n",
		hexAddr(e.local), hexAddr(e.remote), uint8(e.state), e.uid, e.inode)
}

// table is rows under the headings that proc(5) prints.
func table(rows ...entry) string {
	var s strings.Builder
	s.WriteString("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n")
	for _, e := range rows {
		s.WriteString(row(e))
	}
	return s.String()
}
