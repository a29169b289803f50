// SPDX-License-Identifier: MIT

package sockowner

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
)

// procNet is the calling thread's network namespace. /proc/net would be that of the
// process's main thread, whatever namespace the caller has moved to.
const procNet = "/proc/thread-self/net/"

// proc finds the end q in the tables that proc(5) prints. The kernel walks its hash
// table anew for each page it prints, and passes over a row if an earlier one of the
// same bucket has gone meanwhile; a second look makes that an unlikely accident.
func (sys *system) proc(q tuple) ([]entry, error) {
	for range 2 {
		found, err := sys.scan(q)
		if len(found) > 0 || err != nil {
			return found, err
		}
	}
	return nil, nil
}

func (sys *system) scan(q tuple) (found []entry, err error) {
	if q.local.Addr().Is4() {
		if found, err = sys.scanTable(nil, "tcp", q); err != nil {
			return nil, err
		}
	}
	// tcp6 has the IPv4 connections of IPv6 sockets too.
	all, err := sys.scanTable(found, "tcp6", q)
	if q.local.Addr().Is4() && errors.Is(err, fs.ErrNotExist) {
		return found, nil // IPv6 is off
	}
	return all, err
}

func (sys *system) scanTable(found []entry, table string, q tuple) ([]entry, error) {
	f, err := sys.open(procNet + table)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	if !lines.Scan() || !bytes.Contains(lines.Bytes(), []byte(" local_address ")) {
		return nil, errors.Join(lines.Err(), fmt.Errorf("%s%s: headings: %w", procNet, table, errMalformed))
	}
	for lines.Scan() {
		e, err := parseRow(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s%s: %w", procNet, table, err)
		}
		if e.is(q, 0) {
			found = append(found, e)
		}
	}
	return found, lines.Err()
}

// parseRow reads one row of net/tcp or net/tcp6: number, local and remote address,
// state, queues, timer, retransmits, uid, timeout, inode, and more that varies.
func parseRow(line []byte) (entry, error) {
	var col [10][]byte
	rest := line
	for i := range col {
		rest = bytes.TrimLeft(rest, " ")
		end := bytes.IndexByte(rest, ' ')
		if end < 0 {
			end = len(rest)
		}
		col[i], rest = rest[:end], rest[end:]
	}
	local, ok1 := parseAddr(col[1])
	remote, ok2 := parseAddr(col[2])
	state, err1 := strconv.ParseUint(string(col[3]), 16, 8)
	uid, err2 := strconv.ParseUint(string(col[7]), 10, 32)
	inode, err3 := strconv.ParseUint(string(col[9]), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil || !ok1 || !ok2 || local.Addr().Is4() != remote.Addr().Is4() {
		return entry{}, fmt.Errorf("row %q: %w", line, errMalformed)
	}
	return entry{tuple: tuple{local, remote}, state: State(state), uid: uint32(uid), inode: inode}, nil
}

// parseAddr reads ADDRESS:PORT in hexadecimal, and unmaps it. The address is printed as
// words of the machine's byte order, although its bytes are in the network's.
func parseAddr(s []byte) (netip.AddrPort, bool) {
	host, port, ok := bytes.Cut(s, []byte(":"))
	var word [16]byte
	if !ok || len(host) != 8 && len(host) != 32 {
		return netip.AddrPort{}, false
	}
	n, err := hex.Decode(word[:], host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil || len(port) != 4 {
		return netip.AddrPort{}, false
	}
	var raw [16]byte
	for i := 0; i < n; i += 4 {
		native.PutUint32(raw[i:], binary.BigEndian.Uint32(word[i:]))
	}
	addr := netip.AddrFrom16(raw).Unmap()
	if n == 4 {
		addr = netip.AddrFrom4([4]byte(raw[:4]))
	}
	return netip.AddrPortFrom(addr, uint16(p)), true
}
