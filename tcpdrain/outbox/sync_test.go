// SPDX-License-Identifier: MIT

package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// syncs counts the syncs of segments and of the cursor.
func (d *modelDisk) countSyncs() (segments, cursors *int) {
	segments, cursors = new(int), new(int)
	d.before = func(_ int, op, name string) error {
		switch {
		case op == "sync" && name == cursorName:
			*cursors++
		case op == "sync":
			*segments++
		}
		return nil
	}
	return segments, cursors
}

// The interval bounds how long a record or an acknowledgement is not durable, and
// an idle queue is left alone.
func TestInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newModelDisk()
		q, err := open("/q", Config{Sync: Every{Interval: 5 * time.Second}, SegmentBytes: 4 << 10}, d)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		segments, cursors := d.countSyncs()
		want := func(s, c int) {
			t.Helper()
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			if *segments != s || *cursors != c {
				t.Fatalf("%d syncs of segments, %d of the cursor, want %d and %d", *segments, *cursors, s, c)
			}
		}
		mustAppend(t, q, nil)
		time.Sleep(4 * time.Second)
		mustAppend(t, q, nil)
		want(0, 0)
		time.Sleep(time.Second)
		want(1, 0)
		time.Sleep(time.Hour)
		want(1, 0)
		if err := q.Ack(1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		want(1, 1)
	})
}

func TestSyncEachRecords(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sync SyncPolicy
		want int
	}{{Always, 20}, {Every{Records: 1, Interval: -1}, 20}, {Every{Records: 5, Interval: -1}, 4}, {Every{Records: -1, Interval: -1}, 0}, {Never, 0}, {nil, 0}} {
		d := newModelDisk()
		q, err := open("/q", Config{Sync: tc.sync}, d)
		if err != nil {
			t.Fatal(err)
		}
		segments, _ := d.countSyncs()
		for range 20 {
			mustAppend(t, q, nil)
		}
		d.mu.Lock()
		if *segments != tc.want {
			t.Errorf("%#v: %d syncs, want %d", tc.sync, *segments, tc.want)
		}
		d.mu.Unlock()
		q.Close()
	}
}

// Group commit: those who append during an fsync share the next one.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &slowSync{modelDisk: newModelDisk(), started: make(chan int, 10), finish: make(chan bool)}
		q, err := open("/q", Config{Sync: Always}, d)
		if err != nil {
			t.Fatal(err)
		}
		d.slow = true
		var wg sync.WaitGroup
		appendOne := func() {
			if _, err := q.Append([]byte("x")); err != nil {
				t.Error(err)
			}
		}
		wg.Go(appendOne)
		<-d.started
		for range 63 {
			wg.Go(appendOne)
		}
		synctest.Wait()
		d.finish <- true
		<-d.started
		d.finish <- true
		wg.Wait()
		if len(d.started) > 0 {
			t.Error("more than two syncs for 64 records")
		}
		d.slow = false
		q.Close()
	})
}

// Under Never no more than two segments are not durable, also if what runs in the
// background never gets to run; and Sync makes all of them so.
func TestSegmentsBecomeDurable(t *testing.T) {
	t.Parallel()
	for _, lazy := range []bool{false, true} {
		d, h := newModelDisk(), newHistory()
		d.lazy = lazy
		q, err := open("/q", Config{SegmentBytes: 4 << 10, Sync: Never}, d)
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		for i := range 30 {
			h.append(q, message(uint64(i), 1500))
			dirty := 0
			for _, name := range d.segments() {
				if ino := d.names[name]; len(ino.data) != len(ino.stored) || string(ino.data) != string(ino.stored) {
					dirty++
				}
			}
			most = max(most, dirty)
		}
		if want := map[bool]int{false: 1, true: 2}[lazy]; most != want {
			t.Errorf("lazy=%v: up to %d segments were not durable, want %d", lazy, most, want)
		}
		if err := h.sync(q); err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(5) {
			reopened(t, d.cut(rand.New(rand.NewPCG(seed, 1))), h, true)
		}
		q.Close()
	}
}

type slowSync struct {
	*modelDisk
	slow    bool
	started chan int
	finish  chan bool
}

type slowSyncFile struct {
	file
	d *slowSync
}

func (d *slowSync) open(name string, flag int) (file, error) {
	f, err := d.modelDisk.open(name, flag)
	return slowSyncFile{f, d}, err
}

func (f slowSyncFile) sync() error {
	if f.d.slow {
		f.d.started <- 1
		<-f.d.finish
	}
	return f.file.sync()
}

// G29: after a failed fsync nothing is promised any more, but what is there can
// still be taken out.
func TestPoisoned(t *testing.T) {
	t.Parallel()
	for _, sync := range []SyncPolicy{Always, Every{Records: 1}, Never} {
		t.Run(fmt.Sprintf("%T", sync), func(t *testing.T) {
			t.Parallel()
			d := newModelDisk()
			q, err := open("/q", Config{Sync: sync, MaxBytes: 1 << 10}, d)
			if err != nil {
				t.Fatal(err)
			}
			d.before = func(_ int, op, name string) error {
				if op == "sync" {
					d.before = nil // the disk is well again at once
					return syscall.EIO
				}
				return nil
			}
			_, err = q.Append([]byte("a"))
			if sync == Never {
				if err != nil {
					t.Fatal(err)
				}
				err = q.Sync()
			}
			for range 3 {
				if !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
					t.Fatalf("%v, want ErrPoisoned for EIO", err)
				}
				if _, err := q.Append([]byte("b")); !errors.Is(err, ErrPoisoned) {
					t.Fatalf("Append: %v", err)
				}
				err = q.Sync()
			}
			if rec, err := q.Next(t.Context()); err != nil || string(rec.Data) != "a" {
				t.Fatal(rec, err)
			}
			if err := q.Ack(1); err != nil {
				t.Fatal(err)
			}
			if err := q.Close(); !errors.Is(err, ErrPoisoned) {
				t.Fatalf("Close: %v", err)
			}
		})
	}
}

// A waiting Append is woken by Close and by poisoning, and Next by its context.
func TestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newModelDisk()
		q, err := open("/q", Config{MaxBytes: 100, Sync: Every{Interval: time.Minute}}, d)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, q, make([]byte, 84))
		d.before = func(_ int, op, _ string) error {
			if op == "sync" {
				return syscall.EIO
			}
			return nil
		}
		start := time.Now()
		if _, err := q.Append(nil); !errors.Is(err, ErrPoisoned) || time.Since(start) != time.Minute {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		if _, err := q.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("cause")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if _, err := q.Next(ctx); err != cause {
			t.Fatal(err)
		}
		mustNot := func(err error) {
			t.Helper()
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v, want net.ErrClosed", err)
			}
		}
		q.Close()
		_, err = q.Append(nil)
		mustNot(err)
		_, err = q.Next(t.Context())
		mustNot(err)
		mustNot(q.Ack(1))
		mustNot(q.Rewind())
		mustNot(q.Sync())
		mustNot(q.Close())
	})
}

// What has happened by the time an Append begins to wait is not waited for.
func TestNoLostWakeUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, happen := range map[string]func(q *Queue){
		"room":   func(q *Queue) { q.Ack(1) },
		"close":  func(q *Queue) { q.Close() },
		"poison": func(q *Queue) { q.poison(syscall.EIO) },
	} {
		q, err := open("/q", Config{MaxBytes: 100, Sync: Never}, newModelDisk())
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		mustAppend(t, q, make([]byte, 84))
		if err := q.makeRoom(ctx, 100); err != context.Canceled {
			t.Errorf("%s: %v, want to wait", name, err)
		}
		happen(q)
		if err := q.makeRoom(ctx, 100); err != nil {
			t.Errorf("%s: %v, though it need not wait", name, err)
		}
	}
}

// G28: the disk is full in the middle of a record, and then it is not.
func TestNoSpaceThenSpace(t *testing.T) {
	t.Parallel()
	for _, short := range []bool{false, true} {
		d, h := newModelDisk(), newHistory()
		d.writes, d.short = true, short
		q, err := open("/q", modelConfig, d)
		if err != nil {
			t.Fatal(err)
		}
		full := false
		d.before = func(_ int, op, _ string) error {
			if full && (op == "write" || op == "shared") {
				return syscall.ENOSPC
			}
			return nil
		}
		for i := range 60 {
			full = i%20 >= 10
			if err := h.append(q, message(uint64(i), 300)); (err != nil) != full || full && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Append %d: %v, disk full: %v", i, err, full)
			}
			if name := d.segments()[len(d.segments())-1]; int64(len(d.names[name].data)) != q.tail.off {
				t.Fatalf("the segment has %d bytes, its records %d", len(d.names[name].data), q.tail.off)
			}
		}
		full = false
		reopened(t, d.killed(), h, false)
		recs := drain(t, q)
		if len(recs) != 30 || recs[29].Seq != 30 {
			t.Errorf("%d records, the last is %d", len(recs), recs[len(recs)-1].Seq)
		}
		h.close(q)
		reopened(t, d.killed(), h, false)
	}
}
