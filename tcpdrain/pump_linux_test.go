// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// G2: a reset destroys what is still in the sender's buffer, so only a receiver that
// has kept its own empty gets everything.
func TestResetAfterAMegabyte(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	t.Run("idle receiver", func(t *testing.T) {
		t.Parallel()
		local, peer := tcpPair(t)
		sent := 0
		for patience := 200 * time.Millisecond; sent == 0; patience *= 2 { // as much as the kernel takes
			peer.SetWriteDeadline(time.Now().Add(patience))
			sent, _ = peer.Write(pattern(size))
		}
		reset(peer)
		got, err := drainToEnd(must(NewReader(local, Config{})))
		if len(got) >= sent || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d of %d bytes, %v: nothing was lost, so the other half of this test proves nothing", len(got), sent, err)
		}
	})
	t.Run("pump", func(t *testing.T) {
		t.Parallel()
		local, peer := tcpPair(t)
		p := must(NewPump(local, Config{}))
		defer p.Close()
		peer.Write(pattern(size))
		eventually(t, func() bool { return ioctl(t, peer, unix.TIOCOUTQ) == 0 })
		reset(peer)
		got, err := io.ReadAll(p)
		if len(got) != size || !isStream(got) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d of %d bytes, %v", len(got), size, err)
		}
		if _, err := p.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("then %v", err)
		}
	})
}

// A stall whose peer goes on sending is a zero window, and Stats says so while it
// lasts and afterwards.
func TestZeroWindowIsSeen(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Max: 64 << 10}))
	defer p.Close()
	if _, ok := p.window(); !ok {
		t.Skip("this kernel does not report the receive window")
	}
	if s := p.Stats(); s.ZeroWindow || s.ZeroWindows != 0 {
		t.Errorf("at first %+v", s)
	}
	saturate(peer)
	eventually(t, func() bool { return p.Stats().ZeroWindow })
	eventually(t, func() bool { return p.Stats().ZeroWindowTime >= 20*time.Millisecond })
	s := p.Stats()
	if s.ZeroWindows < 1 || s.ZeroWindowTime > s.StallTime {
		t.Errorf("%+v", s)
	}
	for ctx := soon(t); p.Stats().Bytes < s.Bytes+1<<20; {
		must(p.Next(ctx))
	}
	if now := p.Stats(); now.ZeroWindowTime < s.ZeroWindowTime {
		t.Errorf("%v, and then %v", s.ZeroWindowTime, now.ZeroWindowTime)
	}
}

// What happens between a wake and the caller allocates nothing.
func TestSteadyDrainAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector a sync.Pool forgets on purpose")
	}
	local, peer := tcpPair(t)
	r := must(NewReader(local, Config{}))
	buf := make([]byte, 0, 256)
	msg := pattern(13)
	roundTrip := func(take func()) float64 {
		return testing.AllocsPerRun(1000, func() { peer.Write(msg); take() })
	}
	if n := roundTrip(func() { buf, _, _ = r.Drain(buf[:0]) }); n != 0 {
		t.Errorf("Drain allocates %v times per wake", n)
	}
	if n := roundTrip(func() {
		for b := buf[:0]; len(b) == 0; b, _, _ = r.TryDrain(b) {
		}
	}); n != 0 {
		t.Errorf("TryDrain allocates %v times per wake", n)
	}
	p := must(NewPump(local, Config{}))
	defer p.Close()
	ctx := soon(t)
	if n := roundTrip(func() { p.Next(ctx) }); n != 0 {
		t.Errorf("a Pump allocates %v times per wake", n)
	}
	if n := roundTrip(func() { p.Read(buf[:cap(buf)]) }); n != 0 {
		t.Errorf("a Pump's Read allocates %v times per wake", n)
	}
}
