// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// spillQueue returns an empty queue that is not fsynced while in use.
func spillQueue(tb testing.TB) *outbox.Queue {
	tb.Helper()
	return openQueue(tb, tb.TempDir(), outbox.Config{Sync: outbox.Never})
}

func openQueue(tb testing.TB, dir string, cfg outbox.Config) *outbox.Queue {
	tb.Helper()
	q, err := outbox.Open(dir, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { q.Close() })
	return q
}

// A million messages through stalls and resumes: none is lost, none overtakes
// another, and memory stays bounded. At the start of each phase the caller stalls
// until the spill is in use, and at its end the peer waits for the caller, so that
// the boundary to the disk is passed there and back; in between both stall at random.
func TestAMillionMessages(t *testing.T) {
	t.Parallel()
	const phase = 100_000
	phases := 10
	if testing.Short() {
		phases = 2
	}
	const most = 256 << 10
	local, peer := tcpPair(t)
	q := spillQueue(t)
	p := must(NewPump(local, Config{Max: most, Full: Spill, Spill: q}))
	defer p.Close()
	taken := make(chan struct{}, phases) // a phase
	go func() {
		defer peer.CloseWrite()
		rnd := rand.New(rand.NewPCG(1, 2))
		var b bytes.Buffer
		for i := range phases * phase {
			if b.WriteString(message(i)); i%5000 == 4999 {
				if _, err := b.WriteTo(peer); err != nil {
					return
				}
				time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
			}
			if i%phase == phase-1 {
				<-taken
			}
		}
	}()
	spilling := func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.spill.active }
	rnd := rand.New(rand.NewPCG(3, 4))
	before := heap()
	var rest []byte
	next, returns := 0, 0
	for next < phases*phase { // with no bound of its own: how long it takes is the disk's affair
		if next%phase == 0 && len(rest) == 0 {
			eventually(t, spilling)
		}
		was := spilling()
		b := must(p.Next(t.Context()))
		if was && !spilling() {
			returns++
		}
		rest = append(rest, b...)
		for ; len(rest) >= messageSize; rest = rest[messageSize:] {
			if string(rest[:messageSize]) != message(next) {
				t.Fatalf("message %d is %q", next, rest[:messageSize])
			}
			if next++; next%phase == 0 {
				taken <- struct{}{}
			}
		}
		rest = bytes.Clone(rest)
		if rnd.IntN(40) == 0 {
			time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		}
	}
	if b, err := p.Next(soon(t)); err != io.EOF {
		t.Errorf("then %q, %v", b, err)
	}
	s := p.Stats()
	if s.MostHeld > most {
		t.Errorf("%+v", s)
	}
	eventually(t, func() bool { return heap()-before <= 32<<20 }) // other tests have a heap too, for a while
	if s.Spilled == 0 || returns == 0 {
		t.Errorf("%+v, %d returns from the disk", s, returns)
	}
	if n := q.Len(); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// pumpOver returns a Pump that has read size bytes of the stream, most of them into q.
func pumpOver(tb testing.TB, q *outbox.Queue, size int) (*Pump, *net.TCPConn) {
	tb.Helper()
	local, peer := tcpPair(tb)
	p := must(NewPump(local, Config{Chunk: 1000, Max: 5000, Full: Spill, Spill: q}))
	tb.Cleanup(func() { p.Close() })
	peer.Write(pattern(size))
	eventually(tb, func() bool { return p.Stats().Bytes == int64(size) })
	eventually(tb, func() bool { s := p.Stats(); return s.Held+s.Spilled == int64(size) })
	return p, peer
}

// What a Pump left in the spill comes first from the next one, the batch in hand
// included, and its prefix behind that.
func TestSpillOutlivesThePump(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := openQueue(t, dir, outbox.Config{})
	p, _ := pumpOver(t, q, 50000)
	inMemory := int(p.Stats().Held)
	var got []byte
	for len(got) <= inMemory {
		got = append(got, must(p.Next(soon(t)))...)
	}
	p.Close()
	check(t, q.Close())

	q = openQueue(t, dir, outbox.Config{})
	local, peer := tcpPair(t)
	p = must(NewPump(local, Config{Max: 5000, Full: Spill, Spill: q, Prefix: []byte("prefix ")}))
	defer p.Close()
	peer.Write([]byte("and the rest"))
	peer.CloseWrite()
	got, err := io.ReadAll(p)
	want := append(pattern(50000)[inMemory:], "prefix and the rest"...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
	}
}

// Records that somebody took from the spill and did not acknowledge come again.
func TestSpillIsRewound(t *testing.T) {
	t.Parallel()
	q := spillQueue(t)
	for _, msg := range []string{"first ", "second"} {
		must(q.Append([]byte(msg)))
	}
	must(q.Next(soon(t)))
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Full: Spill, Spill: q}))
	defer p.Close()
	peer.Close()
	if got, err := io.ReadAll(p); string(got) != "first second" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A spill that is full in its turn, and fails, ends the Pump, with every byte that
// was read before the error.
func TestSpillFails(t *testing.T) {
	t.Parallel()
	q := openQueue(t, t.TempDir(), outbox.Config{MaxBytes: 20000, Full: outbox.Fail})
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Chunk: 1000, Max: 5000, Full: Spill, Spill: q}))
	defer p.Close()
	go peer.Write(pattern(50000))
	got, err := io.ReadAll(&lateReader{p, t})
	if len(got) < 20000 || int64(len(got)) != p.Stats().Bytes || !isStream(got) || !errors.Is(err, outbox.ErrFull) {
		t.Errorf("%d of %d bytes, %v", len(got), p.Stats().Bytes, err)
	}
}

// A spill that is full in its turn, and blocks, is a Pump that blocks.
func TestSpillBlocks(t *testing.T) {
	t.Parallel()
	q := openQueue(t, t.TempDir(), outbox.Config{MaxBytes: 20000})
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Chunk: 1000, Max: 5000, Full: Spill, Spill: q}))
	defer p.Close()
	go func() { peer.Write(pattern(50000)); peer.CloseWrite() }()
	eventually(t, func() bool { return p.Stats().Bytes > 20000 })
	got, err := io.ReadAll(p)
	if len(got) != 50000 || !isStream(got) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A Pump that waits for room in the spill gives up when it is closed: by then the
// queue may be another's, of another connection.
func TestClosedPumpAppendsNothing(t *testing.T) {
	t.Parallel()
	q := openQueue(t, t.TempDir(), outbox.Config{MaxBytes: 20000})
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Chunk: 1000, Max: 5000, Full: Spill, Spill: q}))
	go peer.Write(pattern(100000))
	eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.spill.appends%2 == 1 && q.Bytes() > 20000-1016
	})
	within(t, "Close", func() { p.Close() })
	n := q.Len()
	for range n {
		rec := must(q.Next(soon(t)))
		check(t, q.Ack(rec.Seq))
	}
	within(t, "the goroutine of a closed Pump", func() { <-p.done })
	if more := q.Len(); more > 0 {
		t.Errorf("%d records after Close, and then %d more", n, more)
	}
}

// Nor does it return while a caller may be taking what would then be missing from the
// next Pump's stream. Such a caller holds rd.
func TestCloseWaitsForWhoeverTakesFromTheSpill(t *testing.T) {
	t.Parallel()
	local, _ := tcpPair(t)
	p := must(NewPump(local, Config{Full: Spill, Spill: spillQueue(t)}))
	p.rd.Lock()
	closed := make(chan struct{})
	go func() { defer close(closed); p.Close() }()
	select {
	case <-closed:
		t.Error("it did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	p.rd.Unlock()
	within(t, "Close", func() { <-closed })
	if err := p.refill(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("taking after Close: %v", err)
	}
}

// NewPump does not wait, even for room in the spill for the prefix.
func TestPrefixAndAFullSpill(t *testing.T) {
	t.Parallel()
	q := openQueue(t, t.TempDir(), outbox.Config{MaxBytes: 1000})
	left := bytes.Repeat([]byte("l"), 900)
	must(q.Append(left))
	local, peer := tcpPair(t)
	peer.Write([]byte("and the rest"))
	peer.CloseWrite()
	prefix := bytes.Repeat([]byte("p"), 200)
	within(t, "NewPump", func() {
		p := must(NewPump(local, Config{Full: Spill, Spill: q, Prefix: prefix}))
		defer p.Close()
		got, err := io.ReadAll(p)
		if want := string(left) + string(prefix) + "and the rest"; string(got) != want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	})
}

// The records that a crash tore from the end of the spill are missing between what is
// left and what comes now.
func TestTornSpill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := openQueue(t, dir, outbox.Config{})
	for _, m := range []string{"one ", "two ", "three "} {
		must(q.Append([]byte(m)))
	}
	check(t, q.Close())
	for _, name := range must(filepath.Glob(filepath.Join(dir, "*.seg"))) {
		check(t, os.Truncate(name, must(os.Stat(name)).Size()-3))
	}
	q = openQueue(t, dir, outbox.Config{})
	for i, want := range []string{"one two ", "four"} {
		local, peer := tcpPair(t)
		p := must(NewPump(local, Config{Full: Spill, Spill: q}))
		defer p.Close()
		peer.Write([]byte("four"))
		peer.CloseWrite()
		got, err := io.ReadAll(p)
		if string(got) != want || (i == 0) != errors.Is(err, ErrHole) || (i == 0) != errors.Is(err, outbox.ErrCorrupt) {
			t.Errorf("Pump %d: %q, %v, want %q", i, got, err, want)
		}
		if got, err := io.ReadAll(p); i == 0 && (string(got) != "four" || err != nil) {
			t.Errorf("behind the hole: %q, %v", got, err)
		}
		p.Close()
	}
}

// What is dropped to make room is missing, but nothing is damaged.
func TestDroppedFromTheSpill(t *testing.T) {
	t.Parallel()
	q := openQueue(t, t.TempDir(), outbox.Config{MaxBytes: 20000, Full: outbox.DropOldest})
	p, peer := pumpOver(t, q, 50000)
	peer.CloseWrite()
	before, err := io.ReadAll(p)
	if !errors.Is(err, ErrHole) || errors.Is(err, outbox.ErrCorrupt) || !isStream(before) {
		t.Errorf("%d bytes, %v", len(before), err)
	}
	behind, err := io.ReadAll(p)
	if err != nil || len(behind) == 0 || !bytes.HasSuffix(pattern(50000), behind) {
		t.Errorf("%d bytes, %v", len(behind), err)
	}
}

// A hole in the stream is an error where it is, and the stream goes on behind it.
func TestDamagedSpill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := openQueue(t, dir, outbox.Config{})
	pumpOver(t, q, 50000)
	check(t, q.Sync())
	check(t, q.Close())
	files := must(filepath.Glob(filepath.Join(dir, "*")))
	damaged := 0
	for _, name := range files {
		b := must(os.ReadFile(name))
		// the 20,000th byte of the stream, wherever it is stored
		if i := bytes.Index(b, pattern(50000)[20000:20050]); i >= 0 {
			b[i] ^= 1
			damaged++
			check(t, os.WriteFile(name, b, 0o600))
		}
	}
	if damaged != 1 {
		t.Fatalf("found it %d times in %v", damaged, files)
	}
	q = openQueue(t, dir, outbox.Config{})
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Full: Spill, Spill: q}))
	defer p.Close()
	peer.Write([]byte("new"))
	peer.CloseWrite()
	var pieces [][]byte
	for range 2 {
		b, err := io.ReadAll(p)
		pieces = append(pieces, b)
		if first := len(pieces) == 1; errors.Is(err, outbox.ErrCorrupt) != first || errors.Is(err, ErrHole) != first {
			t.Errorf("after %d bytes: %v", len(b), err)
		}
	}
	whole := pattern(50000)
	tail, ok := bytes.CutSuffix(pieces[1], []byte("new"))
	if i := bytes.Index(whole, pieces[0]); len(pieces[0]) == 0 || i < 0 || i+len(pieces[0]) != 20000/1000*1000 {
		t.Errorf("%d bytes before the hole, at %d", len(pieces[0]), i)
	}
	if !ok || !bytes.HasSuffix(whole, tail) || len(tail) != 50000-21000 {
		t.Errorf("%d bytes behind the hole", len(tail))
	}
}

// The caller's turn and the goroutine's meet at the boundary in every order that a
// scheduler finds in this many rounds, with a Max of almost nothing.
func TestSpillBoundary(t *testing.T) {
	t.Parallel()
	steps := make([]step, 0, 4000)
	size := 0
	rnd := rand.New(rand.NewPCG(3, 4))
	for range cap(steps) / 2 {
		n := 1 + rnd.IntN(40)
		size += n
		steps = append(steps, step{n: n}, step{err: errAgain})
	}
	s := &script{tb: t, steps: append(steps, step{})}
	s.onRead = func() {
		if s.sent%7 == 0 {
			runtime.Gosched()
		}
	}
	p := must(newPump(s.conn(), Config{Chunk: scriptChunk, Max: 20, Full: Spill, Spill: spillQueue(t)}, s.sys()))
	defer p.Close()
	got, err := takeAll(t, p)
	if len(got) != size || !isStream(got) || err != io.EOF {
		t.Errorf("%d bytes, %v, want %d", len(got), err, size)
	}
	if s := p.Stats(); s.Spilled == 0 || s.MostHeld > 20 {
		t.Errorf("%+v", s)
	}
}
