// SPDX-License-Identifier: MIT

package sockowner

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	for _, r := range []request{
		{asked, 0, unix.NLM_F_REQUEST, ^uint32(0), 1},
		{asked6, 7, unix.NLM_F_REQUEST, 1 << Established, 1 << 31},
		{tuple{netip.MustParseAddrPort("0.0.0.0:65535"), netip.MustParseAddrPort("255.255.255.255:1")}, ^uint32(0), 0, 0, 0},
	} {
		if got := readRequest(t, r.append(nil)); got != r {
			t.Errorf("%+v was read back as %+v", r, got)
		}
	}
}

// modelParse is parse with the structures of the kernel's headers and without hurry.
func modelParse(b []byte, seq uint32) (m message, ok, malformed bool) {
	type header struct {
		Len       uint32
		Kind      uint16
		Flags     uint16
		Seq, From uint32
	}
	for len(b) > 0 {
		var h header
		if _, err := binary.Decode(b, binary.NativeEndian, &h); err != nil || h.Len < 16 || int64(h.Len) > int64(len(b)) {
			return message{}, false, true
		}
		body := b[16:h.Len]
		if h.Seq != seq {
			skip := int(h.Len)
			for skip%4 != 0 {
				skip++
			}
			b = b[min(skip, len(b)):]
			continue
		}
		m.kind = h.Kind
		switch h.Kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			var code int32
			if _, err := binary.Decode(body, binary.NativeEndian, &code); err != nil {
				return message{}, false, true
			}
			if code < 0 {
				m.errno = unix.Errno(uint32(-code))
			}
			return m, true, false
		case unix.SOCK_DIAG_BY_FAMILY:
			var raw rawEntry
			if _, err := binary.Decode(body, binary.NativeEndian, &raw); err != nil {
				return message{}, false, true
			}
			src, dst := netip.AddrFrom16(raw.Src).Unmap(), netip.AddrFrom16(raw.Dst).Unmap()
			if raw.Family == unix.AF_INET {
				src, dst = netip.AddrFrom4([4]byte(raw.Src[:4])), netip.AddrFrom4([4]byte(raw.Dst[:4]))
			} else if raw.Family != unix.AF_INET6 {
				return message{}, false, true
			}
			m.entry = entry{
				tuple: tuple{
					netip.AddrPortFrom(src, uint16(raw.Ports[0])<<8|uint16(raw.Ports[1])),
					netip.AddrPortFrom(dst, uint16(raw.Ports[2])<<8|uint16(raw.Ports[3])),
				},
				device: raw.If, uid: raw.UID, inode: uint64(raw.Inode), state: State(raw.State),
			}
			return m, true, false
		default:
			return message{}, false, true
		}
	}
	return message{}, false, false
}

func FuzzParse(f *testing.F) {
	row := wire(unix.SOCK_DIAG_BY_FAMILY, 1, alice)
	row6 := wire(unix.SOCK_DIAG_BY_FAMILY, 1, with(alice, func(e *entry) { e.local, e.remote = mapped(e.local), mapped(e.remote) }))
	f.Add(row, uint32(1))
	f.Add(row6, uint32(1))
	f.Add(wire(unix.NLMSG_ERROR, 1, unix.ENOENT), uint32(1))
	f.Add(append(wire(unix.NLMSG_DONE, 1, unix.Errno(0)), row...), uint32(1))
	f.Add(append(wire(unix.NLMSG_NOOP, 0, []byte("odd")), append([]byte{0}, row6...)...), uint32(1))
	f.Add(row[:50], uint32(1))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, seq uint32) {
		m, ok, err := parse(b, seq)
		wantM, wantOK, malformed := modelParse(b, seq)
		if ok != wantOK || (err != nil) != malformed || ok && m != wantM {
			t.Fatalf("parse(%x, %d) = %+v, %v, %v, want %+v, %v, malformed %v", b, seq, m, ok, err, wantM, wantOK, malformed)
		}
		if err != nil && !errors.Is(err, errMalformed) {
			t.Fatalf("error %v is no errMalformed", err)
		}
	})
}

var rowPattern = regexp.MustCompile(`^ *[^ ]+ +` + // number
	`([0-9a-fA-F]{8}|[0-9a-fA-F]{32}):([0-9a-fA-F]{4}) +` + // local
	`([0-9a-fA-F]{8}|[0-9a-fA-F]{32}):([0-9a-fA-F]{4}) +` + // remote
	`([0-9a-fA-F]+) +` + // state
	`[^ ]+ +[^ ]+ +[^ ]+ +` + // queues, timer, retransmits
	`([0-9]+) +[^ ]+ +([0-9]+)( |$)`) // uid, timeout, inode

// modelRow is parseRow by a regular expression.
func modelRow(line []byte) (e entry, ok bool) {
	m := rowPattern.FindSubmatch(line)
	if m == nil {
		return entry{}, false
	}
	state, err1 := strconv.ParseUint(string(m[5]), 16, 8)
	uid, err2 := strconv.ParseUint(string(m[6]), 10, 32)
	inode, err3 := strconv.ParseUint(string(m[7]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return entry{}, false
	}
	addr := func(host, port []byte) netip.AddrPort {
		raw, _ := hex.DecodeString(string(host))
		if native.Uint16([]byte{1, 0}) == 1 { // little endian: each word is printed backwards
			for i := 0; i < len(raw); i += 4 {
				raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
			}
		}
		a, _ := netip.AddrFromSlice(raw)
		p, _ := strconv.ParseUint(string(port), 16, 16)
		return netip.AddrPortFrom(a, uint16(p))
	}
	local, remote := addr(m[1], m[2]), addr(m[3], m[4])
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if local.Addr().Is4() != remote.Addr().Is4() {
		return entry{}, false
	}
	return entry{tuple: tuple{local, remote}, state: State(state), uid: uint32(uid), inode: inode}, true
}

func FuzzParseRow(f *testing.F) {
	f.Add([]byte("  12: 0100007F:BAC4 0100007F:953F 06 00000000:00000000 03:00001768 00000000     0        0 0 3 0000000000000000"))
	f.Add([]byte("   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 35258 1 0000000000000000 100 0 0 10 0"))
	f.Add([]byte("   1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:ABCD 01 00000000:00000000 00:00000000 00000000  4294967294        0 4294967296 1"))
	f.Add([]byte(row(alice)))
	f.Add([]byte(row(with(alice, func(e *entry) { e.tuple = asked6 }))))
	f.Add([]byte("1: 0100007F:1 0100007F:2 1 0 0 0 0 0 0"))
	f.Add([]byte("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := parseRow(line)
		want, ok := modelRow(line)
		if (err == nil) != ok || ok && got != want {
			t.Fatalf("parseRow(%q) = %+v, %v, want %+v, %v", line, got, err, want, ok)
		}
		if err != nil && !errors.Is(err, errMalformed) {
			t.Fatalf("error %v is no errMalformed", err)
		}
	})
}

// TestRowsInPieces: where one read of /proc ends is no concern of the result.
func TestRowsInPieces(t *testing.T) {
	t.Parallel()
	var rows []entry
	for i := range 300 {
		rows = append(rows, entry{tuple: tuple{netip.AddrPortFrom(asked.local.Addr(), uint16(i+1)), asked.remote}, uid: uint32(i), inode: 9, state: Established})
	}
	f := fake{socket: []error{unix.EPERM, unix.EPERM, unix.EPERM}, tables: []map[string]string{{"tcp": table(rows...), "tcp6": table()}}}
	sys := f.system(t)
	for _, i := range []int{0, 150, 299} {
		if o, err := sys.lookup(rows[i].tuple, ""); err != nil || o.UID != uint32(i) {
			t.Errorf("row %d: %+v, %v", i, o, err)
		}
	}
}
