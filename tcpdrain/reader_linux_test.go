// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// reset makes conn's close a reset.
func reset(conn interface {
	SetLinger(int) error
	Close() error
}) {
	conn.SetLinger(0)
	conn.Close()
}

func awaitPending(tb testing.TB, conn syscall.Conn, n int) {
	tb.Helper()
	eventually(tb, func() bool { return ioctl(tb, conn, unix.TIOCINQ) >= n })
}

func ioctl(tb testing.TB, conn syscall.Conn, request uint) (n int) {
	tb.Helper()
	raw, err := conn.SyscallConn()
	check(tb, err)
	check(tb, raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), request) }))
	check(tb, err)
	return n
}

func sockopt(tb testing.TB, conn syscall.Conn, level, opt int) (n int) {
	tb.Helper()
	raw, err := conn.SyscallConn()
	check(tb, err)
	check(tb, raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), level, opt) }))
	check(tb, err)
	return n
}

// G1: the bytes before a reset, then the reset, and not an end of stream afterwards,
// which is what the kernel says to a second read.
func TestDataThenReset(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	peer.Write(pattern(64 << 10))
	awaitPending(t, local, 64<<10)
	reset(peer)
	r := must(NewReader(local, Config{}))
	got, err := drainToEnd(r)
	if len(got) != 64<<10 || !isStream(got) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for range 3 {
		if b, _, err := r.Drain(nil); len(b) > 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("then %d bytes, %v", len(b), err)
		}
		if b, _, err := r.TryDrain(nil); len(b) > 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("then TryDrain: %d bytes, %v", len(b), err)
		}
	}
}

// G3, G11: bytes and FIN together, and FIN alone, for which FIONREAD says 0.
func TestDataThenEnd(t *testing.T) {
	t.Parallel()
	closeWait := func(conn syscall.Conn) func() bool {
		return func() bool { return tcpInfo(t, conn).State == unix.BPF_TCP_CLOSE_WAIT }
	}
	local, peer := tcpPair(t)
	peer.Write([]byte("abc"))
	peer.CloseWrite()
	eventually(t, closeWait(local))
	r := must(NewReader(local, Config{}))
	if b, state, err := r.Drain(nil); string(b) != "abc" || state != EOF || err != nil {
		t.Errorf("Drain = %q, %v, %v", b, state, err)
	}

	local, peer = tcpPair(t)
	peer.CloseWrite()
	eventually(t, closeWait(local))
	if n := ioctl(t, local, unix.TIOCINQ); n != 0 {
		t.Errorf("FIONREAD = %d", n)
	}
	r = must(NewReader(local, Config{}))
	if b, state, err := r.TryDrain(nil); len(b) > 0 || state != EOF || err != nil {
		t.Errorf("TryDrain = %q, %v, %v", b, state, err)
	}
}

// G4: what the budget left behind makes no new edge, and is found all the same.
func TestBudgetLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	peer.Write(pattern(1000))
	awaitPending(t, local, 1000)
	r := must(NewReader(local, Config{Budget: 100}))
	check(t, local.SetReadDeadline(time.Now().Add(patience)))
	var got []byte
	for i := range 10 {
		b, state, err := r.Drain(nil)
		if len(b) != 100 || state != More || err != nil {
			t.Errorf("Drain %d = %d bytes, %v, %v", i, len(b), state, err)
		}
		got = append(got, b...)
	}
	if !isStream(got) {
		t.Error("not what was sent")
	}
	if b, state, err := r.TryDrain(nil); len(b) > 0 || state != Empty || err != nil {
		t.Errorf("TryDrain = %d bytes, %v, %v", len(b), state, err)
	}
}

// G6: a caller may close the connection between two drains and in the middle of its
// work, since none of its code runs inside the callback; and Close waits for no
// more than one budget.
func TestCloseBesideASaturatedDrain(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	saturate(peer)
	r := must(NewReader(local, Config{}))
	work := make(chan struct{}, 1)
	go func() {
		for buf := []byte(nil); ; {
			var err error
			if buf, _, err = r.Drain(buf[:0]); err != nil {
				close(work)
				return
			}
		}
	}()
	within(t, "Close", func() { local.Close() })
	within(t, "the drain after Close", func() { <-work })
}

// G7: Drain honours a deadline that has passed, even if there are data; TryDrain
// gets them.
func TestExpiredDeadlineWithDataWaiting(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	peer.Write([]byte("waiting"))
	awaitPending(t, local, 7)
	check(t, local.SetReadDeadline(time.Unix(1, 0)))
	r := must(NewReader(local, Config{}))
	if b, _, err := r.Drain(nil); len(b) > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Drain = %q, %v", b, err)
	}
	if b, state, err := r.TryDrain(nil); string(b) != "waiting" || state != Empty || err != nil {
		t.Errorf("TryDrain = %q, %v, %v", b, state, err)
	}
	if b, state, err := r.TryDrain(nil); len(b) > 0 || state != Empty || err != nil {
		t.Errorf("TryDrain = %q, %v, %v", b, state, err)
	}
}

// G10: a read stops short at the urgent mark, with more behind it.
func TestUrgentDataIsNoEnd(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	raw := must(peer.SyscallConn())
	send := func(b []byte, flags int) {
		var err error
		check(t, raw.Control(func(fd uintptr) { err = unix.Send(int(fd), b, flags) }))
		check(t, err)
	}
	want := pattern(250)
	send(want[:100], 0)
	send([]byte("!"), unix.MSG_OOB)
	send(want[100:], 0)
	// FIONREAD counts up to the mark only: peek until the rest is there.
	eventually(t, func() bool { return tcpInfo(t, local).Bytes_received == 251 })
	r := must(NewReader(local, Config{}))
	b, state, err := r.Drain(nil)
	if len(b) != 250 || !isStream(b) || state != Empty || err != nil {
		t.Errorf("Drain = %d bytes, %v, %v", len(b), state, err)
	}
	if s := r.Stats(); s.Reads < 3 {
		t.Errorf("%d reads: the mark was not met", s.Reads)
	}
}

func tcpInfo(tb testing.TB, conn syscall.Conn) (info *unix.TCPInfo) {
	tb.Helper()
	raw, err := conn.SyscallConn()
	check(tb, err)
	check(tb, raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	check(tb, err)
	return info
}

// G12, G24: neither the low-water mark, which would leave a short tail unread, nor
// the receive buffer's size, which would end autotuning, is touched.
func TestSocketOptionsAreLeftAlone(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	lowat := sockopt(t, local, unix.SOL_SOCKET, unix.SO_RCVLOWAT)
	p := must(NewPump(local, Config{}))
	defer p.Close()
	before := sockopt(t, local, unix.SOL_SOCKET, unix.SO_RCVBUF)
	peer.Write(pattern(1000))
	for got := 0; got < 1000; {
		b, err := p.Next(soon(t))
		check(t, err)
		got += len(b)
	}
	if n := sockopt(t, local, unix.SOL_SOCKET, unix.SO_RCVLOWAT); n != lowat {
		t.Errorf("SO_RCVLOWAT = %d, was %d", n, lowat)
	}
	saturate(peer)
	ctx := soon(t)
	for sockopt(t, local, unix.SOL_SOCKET, unix.SO_RCVBUF) <= before { // grows only if it was never set
		if _, err := p.Next(ctx); err != nil {
			t.Fatalf("SO_RCVBUF stays %d: %v", before, err)
		}
	}
}

// 16 MiB that wait in the kernel take 257 reads and one more for each budget at most.
func TestReadsForABacklog(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	local := backlog(t, size)
	r := must(NewReader(local, Config{}))
	buf := make([]byte, 0, 2<<20)
	for total := 0; total < size; {
		var err error
		buf, _, err = r.Drain(buf[:0])
		check(t, err)
		total += len(buf)
	}
	if s := r.Stats(); s.Reads > 260 {
		t.Errorf("%+v", s)
	}
}
