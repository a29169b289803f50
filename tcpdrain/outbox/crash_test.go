// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
)

var modelConfig = Config{SegmentBytes: 4 << 10, Sync: Every{Records: 5, Interval: -1}}

// workload uses a queue in every way, ignoring errors.
func workload(d *modelDisk, h *history) {
	q, err := open("/q", modelConfig, d)
	if err != nil {
		return
	}
	r := rand.New(rand.NewPCG(1, 2))
	var out []uint64
	for i := range 60 {
		size := []int{0, 10, 100, 700, 1500}[r.IntN(5)]
		if i == 30 {
			size = 9000 // longer than a segment
		}
		h.append(q, message(uint64(i), size))
		if i%3 > 0 {
			if rec, ok, err := q.TryNext(); ok && err == nil {
				out = append(out, rec.Seq)
			}
		}
		if len(out) > 4 {
			k := r.IntN(len(out))
			h.ack(q, out[k])
			out = append(out[:k], out[k+1:]...)
		}
		switch i {
		case 20, 45:
			h.sync(q)
		case 35:
			for _, seq := range out {
				h.ack(q, seq)
			}
			out = nil
			q.Rewind()
		case 50:
			h.close(q)
			h.poisoned = false
			if q, err = open("/q", modelConfig, d); err != nil {
				return
			}
		}
	}
	h.close(q)
}

// reopened checks a disk that something happened to, and that the queue on it is
// good for more.
func reopened(t *testing.T, d *modelDisk, h *history, power bool) {
	t.Helper()
	q, err := open("/q", modelConfig, d)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	h.check(t, q, power)
	var more []uint64
	for i := range 8 {
		seq, err := q.Append(message(uint64(1000+i), 400))
		if err != nil {
			t.Fatalf("Append after recovery: %v", err)
		}
		if _, used := h.sent[seq]; used {
			t.Fatalf("sequence number %d given twice", seq)
		}
		more = append(more, seq)
	}
	before := q.Len()
	if err := q.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if q, err = open("/q", modelConfig, d.killed()); err != nil {
		t.Fatalf("second Open: %v", err)
	}
	if q.Len() != before {
		t.Fatalf("second Open: Len %d, want %d", q.Len(), before)
	}
	recs := drain(t, q)
	for i := range more {
		if rec := recs[len(recs)-len(more)+i]; rec.Seq != more[i] || string(rec.Data) != string(message(uint64(1000+i), 400)) {
			t.Fatalf("record %d appended after recovery is not there", more[i])
		}
	}
	for _, rec := range recs {
		if err := q.Ack(rec.Seq); err != nil {
			t.Fatal(err)
		}
	}
	if q.Len() != 0 || q.Bytes() != 0 {
		t.Fatalf("Len %d, Bytes %d after all was acknowledged", q.Len(), q.Bytes())
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// forEachCall runs run once for each call the workload makes of a disk.
func forEachCall(t *testing.T, run func(t *testing.T, newDisk func() *modelDisk, n int)) {
	for _, disk := range []struct{ writes, lazy bool }{{false, false}, {false, true}, {true, true}} {
		t.Run(fmt.Sprintf("writes=%v,lazy=%v", disk.writes, disk.lazy), func(t *testing.T) {
			t.Parallel()
			newDisk := func() *modelDisk {
				d := newModelDisk()
				d.writes, d.lazy = disk.writes, disk.lazy
				return d
			}
			d := newDisk()
			workload(d, newHistory())
			if d.calls < 150 {
				t.Fatalf("%d calls: the workload did not run", d.calls)
			}
			for n := 1; n <= d.calls; n++ {
				run(t, newDisk, n)
			}
		})
	}
}

// G29, G31: a crash before each call, by kill and by power cut.
func TestCrashAtEachCall(t *testing.T) {
	t.Parallel()
	seeds := uint64(1)
	if os.Getenv("OUTBOX_LONG") != "" { // power cuts are random: a minute of them
		seeds = 20
	}
	forEachCall(t, func(t *testing.T, newDisk func() *modelDisk, n int) {
		d, h := newDisk(), newHistory()
		var snap *modelDisk
		d.before = func(i int, op, name string) error {
			if i < n {
				return nil
			}
			if snap == nil {
				snap = d.killed()
			}
			return errCrash
		}
		h.dead = func() bool { return snap != nil }
		workload(d, h)
		defer func() {
			if t.Failed() {
				t.Logf("crash before call %d", n)
			}
		}()
		reopened(t, snap.killed(), h, false)
		for seed := range seeds {
			reopened(t, snap.cut(rand.New(rand.NewPCG(seed, uint64(n)))), h, true)
		}
	})
}

// G13, G28, G29: each call fails, with each errno; then the disk is well again.
func TestErrorAtEachCall(t *testing.T) {
	t.Parallel()
	others := []syscall.Errno{syscall.EROFS, syscall.EINTR, syscall.EMFILE, syscall.EDQUOT} // in turn, as errno 0
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, 0} {
		for _, short := range []bool{false, true} {
			if short && errno == 0 {
				continue
			}
			t.Run(fmt.Sprintf("errno=%d/short=%v", errno, short), func(t *testing.T) {
				t.Parallel()
				forEachCall(t, func(t *testing.T, newDisk func() *modelDisk, n int) {
					errno := errno
					if errno == 0 {
						errno = others[n%len(others)]
					}
					d, h := newDisk(), newHistory()
					d.short = short
					var failed string
					d.before = func(i int, op, name string) error {
						if i == n {
							failed = op + " " + name
							return errno
						}
						return nil
					}
					defer func() {
						if t.Failed() {
							t.Logf("call %d, %s, failed", n, failed)
						}
					}()
					workload(d, h)
					d.before = nil
					e := d.killed()
					if errors.Is(errno, syscall.EIO) && failed[:4] == "read" {
						return // what could not be read is lost: see TestUnreadablePage
					}
					reopened(t, e, h, false)
					if h.poisoned { // whoever opens it next must not trust what was not synced
						e = d.killed()
						h.poisoned = false
						q, err := open("/q", modelConfig, e)
						if err != nil {
							t.Fatal(err)
						}
						if err := h.sync(q); err != nil {
							t.Fatal(err)
						}
						reopened(t, e.cut(rand.New(rand.NewPCG(1, uint64(n)))), h, true)
					}
				})
			})
		}
	}
}

// Numbers are left out after a power cut, and after no other end.
func TestNumbersLeftOut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		next func(d *modelDisk, q *Queue) *modelDisk
		want uint64
	}{
		"kill":                 {func(d *modelDisk, q *Queue) *modelDisk { return d.killed() }, 2},
		"close":                {func(d *modelDisk, q *Queue) *modelDisk { q.Close(); return d.killed() }, 2},
		"close, then a reboot": {func(d *modelDisk, q *Queue) *modelDisk { q.Close(); d.bootID = "next"; return d.killed() }, 2},
		"power cut":            {func(d *modelDisk, q *Queue) *modelDisk { d.bootID = "next"; return d.killed() }, 2 + skipped},
		"kill, who knows":      {func(d *modelDisk, q *Queue) *modelDisk { d.bootID = ""; return d.killed() }, 2 + skipped},
	} {
		d := newModelDisk()
		q, err := open("/q", modelConfig, d)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, q, nil)
		if q, err = open("/q", modelConfig, tc.next(d, q)); err != nil {
			t.Fatal(err)
		}
		if seq := mustAppend(t, q, nil); seq != tc.want || q.Len() != 2 {
			t.Errorf("%s: record %d is next, want %d; Len %d", name, seq, tc.want, q.Len())
		}
		q.Close()
	}
}

// A segment that the cursor has passed and a crash has left, or brought back, goes.
func TestPassedSegmentsGo(t *testing.T) {
	t.Parallel()
	d := newModelDisk()
	q, err := open("/q", modelConfig, d)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		mustAppend(t, q, make([]byte, 1500))
	}
	d.before = func(_ int, op, _ string) error {
		if op == "remove" {
			return errCrash
		}
		return nil
	}
	if err := q.ackRange(1, 7); err != nil {
		t.Fatal(err)
	}
	d = d.killed()
	before := d.segments()
	if q, err = open("/q", modelConfig, d); err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if recs, names := drain(t, q), d.segments(); len(before) != 4 || len(names) != 1 || len(recs) != 1 || recs[0].Seq != 8 || q.Loss().Records > 0 {
		t.Errorf("%d records, %d segments of %d, %+v", len(recs), len(names), len(before), q.Loss())
	}
}

// G29: a failed fsync leaves the kernel with clean pages that are not on the disk. The
// next process writes them again before it calls them durable.
func TestReopenAfterFailedSync(t *testing.T) {
	t.Parallel()
	for _, records := range []int{1, 4, 12} { // in the last segment, and in the one before
		d, h := newModelDisk(), newHistory()
		d.writes, d.lazy = true, true
		q, err := open("/q", Config{SegmentBytes: 4 << 10, Sync: Never}, d)
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			h.append(q, message(uint64(i), 600))
		}
		d.before = func(_ int, op, name string) error {
			if op == "sync" {
				return syscall.EIO
			}
			return nil
		}
		if err := h.sync(q); !errors.Is(err, ErrPoisoned) {
			t.Fatal(err)
		}
		d = d.killed()
		if q, err = open("/q", modelConfig, d); err != nil {
			t.Fatal(err)
		}
		h.poisoned = false
		if err := h.sync(q); err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(10) {
			reopened(t, d.cut(rand.New(rand.NewPCG(seed, 4))), h, true)
		}
	}
}

// G31: a segment is removed only when a durable cursor has passed it.
func TestRemovalAfterCursor(t *testing.T) {
	t.Parallel()
	d, removed := newModelDisk(), 0
	d.before = func(_ int, op, name string) error {
		if seg, ok := parseSegmentName(name); ok && op == "remove" {
			removed++
			var floor uint64
			for slot := range 2 {
				var s state
				if s.decode(d.names["/q/cursor"].stored[slot*slotBytes:][:slotBytes]) {
					floor = max(floor, s.floor)
				}
			}
			next := ^uint64(0)
			for n := range d.names {
				if other, ok := parseSegmentName(n[len("/q/"):]); ok && other.first > seg.first {
					next = min(next, other.first)
				}
			}
			if floor < next {
				t.Errorf("%s removed with the durable cursor at %d", name, floor)
			}
		}
		return nil
	}
	workload(d, newHistory())
	if removed == 0 {
		t.Error("no segment was removed")
	}
}
