// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// hit damages the payload of record seq of a queue whose records are all in one
// segment and size bytes long.
func (d *modelDisk) hit(seq, size int) {
	d.names[d.segments()[0]].data[segmentHeader+(seq-1)*(frameHeader+size)+frameHeader] ^= 1
}

// The newest record is damaged while the queue is open, whether or not it has been
// taken: its room is given back, and nobody waits for ever.
func TestDamagedNewest(t *testing.T) {
	t.Parallel()
	for _, full := range []Policy{Block, Fail, DropOldest} {
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/taken=%v", full, taken), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					d := newModelDisk()
					q, err := open("/q", Config{MaxBytes: 1000, Full: full, Sync: Never}, d)
					if err != nil {
						t.Fatal(err)
					}
					defer q.Close()
					seq := mustAppend(t, q, make([]byte, 600))
					if taken {
						drain(t, q)
					}
					d.hit(1, 600)
					next := make(chan error)
					go func() {
						if taken {
							q.Ack(seq)
						}
						rec, err := q.Next(t.Context())
						if err == nil && rec.Seq != 2 {
							err = fmt.Errorf("record %d", rec.Seq)
						}
						next <- err
					}()
					if full == Fail {
						synctest.Wait()
					}
					mustAppend(t, q, make([]byte, 600))
					if err := <-next; err != nil {
						t.Error(err)
					}
					if q.Len() != 1 || q.Bytes() != 616 || !taken && q.Loss().Records != 1 {
						t.Errorf("Len %d, Bytes %d, %+v", q.Len(), q.Bytes(), q.Loss())
					}
				})
			})
		}
	}
}

// Damage on both sides of the oldest unacknowledged record: what is below it was
// acknowledged, what is above it is lost, and found to be.
func TestDamageAcrossFloor(t *testing.T) {
	t.Parallel()
	for _, policy := range []CorruptPolicy{Skip, Stop} {
		for _, last := range []int{5, 7, 10} { // the records from 4 to last are damaged
			t.Run(fmt.Sprintf("%d/%d", policy, last), func(t *testing.T) {
				d := newModelDisk()
				q, err := open("/q", Config{OnCorrupt: policy}, d)
				if err != nil {
					t.Fatal(err)
				}
				defer q.Close()
				for range 10 {
					mustAppend(t, q, make([]byte, 50))
				}
				for range 4 {
					q.Next(t.Context())
				}
				for seq := 4; seq <= last; seq++ {
					d.hit(seq, 50)
				}
				q.reader.buf = q.reader.buf[:0] // as if they had not fitted
				for seq := range uint64(4) {
					if err := q.Ack(seq + 1); err != nil {
						t.Fatal(err)
					}
				}
				if policy == Stop {
					for range 2 {
						_, _, err := q.TryNext()
						e, ok := errors.AsType[*CorruptError](err)
						if !ok || e.First != 5 || e.Last != uint64(last) {
							t.Fatalf("%v, want records 5 to %d damaged", err, last)
						}
						if err := q.Rewind(); err != nil {
							t.Fatal(err)
						}
					}
					for seq := 5; seq <= last; seq++ {
						if err := q.Ack(uint64(seq)); err != nil {
							t.Fatal(err)
						}
					}
				}
				recs := drain(t, q)
				if len(recs) != 10-last || q.Len() != len(recs) || q.Bytes() != int64(len(recs)*66) {
					t.Fatalf("%d records, Len %d, Bytes %d", len(recs), q.Len(), q.Bytes())
				}
				if l := q.Loss(); policy == Skip && (l.Records != uint64(last-4) || len(l.Ranges) != 1 || l.Ranges[0].First != 5) {
					t.Fatalf("%+v, want 5 to %d", l, last)
				}
				for _, rec := range recs {
					if err := q.Ack(rec.Seq); err != nil {
						t.Fatal(err)
					}
				}
				if q.Len() != 0 || q.Bytes() != 0 {
					t.Fatalf("Len %d, Bytes %d", q.Len(), q.Bytes())
				}
			})
		}
	}
}

// A segment that is all zeros is dropped as fast as one that is intact.
func TestDropDamagedSegment(t *testing.T) {
	t.Parallel()
	for _, policy := range []CorruptPolicy{Skip, Stop} {
		d := newModelDisk()
		q, err := open("/q", Config{MaxBytes: 20 << 10, SegmentBytes: 16 << 10, Full: DropOldest, OnCorrupt: policy, Sync: Never}, d)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		for range 1000 {
			mustAppend(t, q, nil)
		}
		clear(d.names[d.segments()[0]].data)
		d.calls = 0
		for i := range 1000 {
			mustAppend(t, q, make([]byte, 16))
			if q.Bytes() > 20<<10 {
				t.Fatalf("record %d: Bytes %d", i, q.Bytes())
			}
		}
		if d.calls > 3000 {
			t.Errorf("%d calls of the disk for 1,000 records", d.calls)
		}
		n, recs := q.Len(), drain(t, q)
		if len(recs) != n || recs[n-1].Seq != 2000 || q.Loss().Records != uint64(2000-n) {
			t.Errorf("Len %d, then %d records, %d lost", n, len(recs), q.Loss().Records)
		}
	}
}

// A waiting Append is woken when Next finds damage.
func TestDamageMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newModelDisk()
		q, err := open("/q", Config{MaxBytes: 1000, Sync: Never}, d)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		mustAppend(t, q, make([]byte, 400))
		mustAppend(t, q, make([]byte, 400))
		d.hit(1, 400)
		done := make(chan error)
		go func() { _, err := q.Append(make([]byte, 400)); done <- err }()
		synctest.Wait()
		if rec, err := q.Next(t.Context()); err != nil || rec.Seq != 2 {
			t.Fatal(rec.Seq, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// Ack fails for want of a descriptor, and once more it gives the room back.
func TestAckAgain(t *testing.T) {
	t.Parallel()
	d := newModelDisk()
	q, err := open("/q", Config{SegmentBytes: 4 << 10, Sync: Never}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for range 4 {
		mustAppend(t, q, make([]byte, 2500))
	}
	d.before = func(_ int, op, _ string) error {
		if op == "open" {
			return syscall.EMFILE
		}
		return nil
	}
	for seq := range uint64(4) {
		err = q.Ack(seq + 1)
	}
	if !errors.Is(err, syscall.EMFILE) || q.Len() != 0 {
		t.Fatalf("%v, Len %d", err, q.Len())
	}
	d.before = nil
	if err := q.Ack(4); err != nil || q.Bytes() != 0 {
		t.Fatalf("%v, Bytes %d", err, q.Bytes())
	}
}

// A record that is in the file, of which Close cannot say whether it is durable, is
// not said to be absent.
func TestCloseFails(t *testing.T) {
	t.Parallel()
	d := &slowSync{modelDisk: newModelDisk(), started: make(chan int, 10), finish: make(chan bool)}
	q, err := open("/q", Config{Sync: Always}, d)
	if err != nil {
		t.Fatal(err)
	}
	d.slow = true
	done := make(chan error)
	appendOne := func() { _, err := q.Append([]byte("x")); done <- err }
	go appendOne()
	<-d.started
	go appendOne() // which the fsync that has begun does not cover
	for q.nextSeq.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	d.mu.Lock()
	d.before = func(_ int, op, _ string) error {
		if op == "truncate" {
			return syscall.EIO
		}
		return nil
	}
	d.mu.Unlock()
	closed := make(chan error)
	go func() { closed <- q.Close() }()
	for !q.done.Load() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // long enough for the lock to be handed to Close
	d.slow = false
	d.finish <- true
	for range 2 {
		if err := <-done; err != nil && !errors.Is(err, ErrPoisoned) {
			t.Errorf("Append: %v, though the record is in the file", err)
		}
	}
	if err := <-closed; !errors.Is(err, ErrPoisoned) {
		t.Errorf("Close: %v", err)
	}
}
