// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// notes returns the two slots that Ack writes.
func (d *modelDisk) notes() (notes [2][]byte) {
	for i := range notes {
		notes[i] = d.names["/q/"+cursorName].data[(2+i)*slotBytes:][:slotBytes]
	}
	return notes
}

// A kill tears the slot that Open is storing to: the other one has all the
// acknowledgements that had returned, whichever it is.
func TestKillTearsNote(t *testing.T) {
	t.Parallel()
	d := newModelDisk()
	q, err := open("/q", modelConfig, d)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for range 10 {
		mustAppend(t, q, []byte("x"))
	}
	for acks := range 4 {
		before, after := d.killed(), d.killed()
		after.before = func(_ int, op, name string) error {
			if op == "write" && name == cursorName {
				return errCrash // Open has stored one slot, and nothing has been written
			}
			return nil
		}
		if _, err := open("/q", modelConfig, after); !errors.Is(err, errCrash) {
			t.Fatalf("Open: %v", err)
		}
		torn := 0
		for i, note := range after.notes() {
			if was := before.notes()[i]; string(note) != string(was) {
				copy(note[8:12], was[8:12]) // the checksum is stored last
				torn++
			}
		}
		if torn != 1 {
			t.Fatalf("Open changed %d slots, want 1", torn)
		}
		reopened, err := open("/q", modelConfig, after.killed())
		if err != nil {
			t.Fatal(err)
		}
		if recs := drain(t, reopened); len(recs) != 10-acks {
			t.Errorf("after %d acknowledgements, and an Open that was killed, %d of 10 records are delivered", acks, len(recs))
		}
		reopened.Close()
		if err := q.Ack(uint64(acks + 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// An Ack that could not be noted is noted when it is tried again, and does not cost
// the one before.
func TestAckNotedAgain(t *testing.T) {
	t.Parallel()
	d := newModelDisk()
	d.writes, d.short = true, true
	q, err := open("/q", modelConfig, d)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	mustAppend(t, q, []byte("a"))
	mustAppend(t, q, []byte("b"))
	if err := q.Ack(1); err != nil {
		t.Fatal(err)
	}
	left := func() int {
		t.Helper()
		q, err := open("/q", modelConfig, d.killed())
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		return q.Len()
	}
	d.before = cursorFull
	for range 2 {
		if err := q.Ack(2); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("Ack on a full disk: %v, want ENOSPC", err)
		}
		if n := left(); n != 1 {
			t.Errorf("%d records are delivered after a kill, want the second", n)
		}
	}
	d.before = nil
	if err := q.Ack(2); err != nil {
		t.Fatal(err)
	}
	if n := left(); n != 0 {
		t.Errorf("%d records are delivered again", n)
	}
}

func cursorFull(_ int, op, name string) error {
	if op == "write" && name == cursorName {
		return syscall.ENOSPC
	}
	return nil
}

// G28: a copy-on-write file system that is full takes no cursor either. That is no
// failed fsync: the other slot stands, and with space the queue goes on by itself.
func TestNoSpaceForCursor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newModelDisk()
		d.writes, d.short = true, true
		q, err := open("/q", Config{SegmentBytes: 4 << 10, Sync: Every{Records: -1, Interval: time.Minute}}, d)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		for range 10 {
			mustAppend(t, q, make([]byte, 1000))
		}
		d.before = cursorFull
		for seq := range uint64(9) {
			if err := q.Ack(seq + 1); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Ack: %v, want ENOSPC", err)
			}
		}
		if err := q.Sync(); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrPoisoned) {
			t.Fatalf("Sync: %v, want ENOSPC", err)
		}
		time.Sleep(time.Hour)
		if n := len(d.segments()); n != 4 {
			t.Errorf("%d segments, and the durable cursor has passed none of 4", n)
		}
		d.mu.Lock()
		d.before = nil
		d.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(d.segments()); n != 1 {
			t.Errorf("%d segments are left", n)
		}
		mustAppend(t, q, []byte("x"))
	})
}

// A power cut tears the durable slot that is being written, and leaves nothing of
// what Ack noted: the other durable slot holds what had been promised.
func TestTornCursor(t *testing.T) {
	t.Parallel()
	torn := 0
	cuts := map[int]bool{}
	d := newModelDisk()
	d.before = func(i int, op, name string) error {
		cuts[i] = op == "sync" && name == cursorName
		return nil
	}
	workload(d, newHistory())
	for n := 1; n <= d.calls; n++ {
		if !cuts[n] {
			continue
		}
		e, h := newModelDisk(), newHistory()
		var snap *modelDisk
		e.before = func(i int, op, name string) error {
			if i == n && op == "sync" && name == cursorName {
				snap = e.killed()
			}
			if snap != nil {
				return errCrash
			}
			return nil
		}
		h.dead = func() bool { return snap != nil }
		workload(e, h)
		if snap == nil {
			continue
		}
		for name, ino := range snap.names { // the torn slot differs from what was stored
			if name == "/q/"+cursorName && len(ino.stored) == len(ino.data) {
				torn++
				for slot := range 2 {
					at := slot * slotBytes
					if string(ino.data[at:][:slotHeader]) != string(ino.stored[at:][:slotHeader]) {
						copy(ino.stored[at:], ino.data[at:at+50])
					}
				}
				clear(ino.stored[2*slotBytes:]) // torn as well: Ack writes both all the time
			}
			ino.data = append(ino.data[:0], ino.stored...)
		}
		snap.names, snap.bootID = snap.stored, "after"
		q, err := open("/q", modelConfig, snap)
		if err != nil {
			t.Fatal(err)
		}
		h.check(t, q, true)
		q.Close()
	}
	if torn < 5 {
		t.Errorf("the cursor was synced %d times", torn)
	}
}
