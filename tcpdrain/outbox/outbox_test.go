// SPDX-License-Identifier: MIT

package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

// helpers are the parts this binary plays when it is started as a child.
var helpers = map[string]func() error{
	"writer":                       func() error { return helpWriter(osDisk{}) },
	"writer without shared memory": func() error { return helpWriter(writesOnly{}) },
	"locker":                       helpLocker,
}

func TestMain(m *testing.M) {
	if help := helpers[os.Getenv("OUTBOX_TEST_HELPER")]; help != nil {
		if err := help(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func mustOpen(t testing.TB, dir string, cfg Config) *Queue {
	t.Helper()
	q, err := Open(dir, cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func mustAppend(t testing.TB, q *Queue, msg []byte) uint64 {
	t.Helper()
	seq, err := q.Append(msg)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return seq
}

// drain returns all records that are there.
func drain(t testing.TB, q *Queue) (recs []Record) {
	t.Helper()
	for {
		rec, ok, err := q.TryNext()
		if err != nil {
			t.Fatalf("TryNext: %v", err)
		}
		if !ok {
			return recs
		}
		recs = append(recs, rec)
	}
}

func message(seq uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seq, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestAppendNextAck(t *testing.T) {
	t.Parallel()
	for _, segment := range []int64{4 << 10, 64 << 20} {
		t.Run(fmt.Sprint(segment), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cfg := Config{SegmentBytes: segment}
			q := mustOpen(t, dir, cfg)
			sizes := []int{0, 1, 100, 5000, 0, 300 << 10, 7, 2000, 2000, 2000}
			for i := range 300 {
				if seq := mustAppend(t, q, message(uint64(i+1), sizes[i%len(sizes)])); seq != uint64(i+1) {
					t.Fatalf("seq = %d, want %d", seq, i+1)
				}
			}
			check := func(from, to uint64) {
				t.Helper()
				if got, want := q.Len(), int(to-from+1); got != want {
					t.Fatalf("Len = %d, want %d", got, want)
				}
				for seq := from; seq <= to; seq++ {
					rec, err := q.Next(t.Context())
					if err != nil || rec.Seq != seq || !bytes.Equal(rec.Data, message(seq, sizes[(seq-1)%10])) {
						t.Fatalf("Next = %d %v, want %d", rec.Seq, err, seq)
					}
				}
			}
			check(1, 300)
			for seq := uint64(1); seq <= 150; seq++ {
				if err := q.Ack(seq); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.Rewind(); err != nil {
				t.Fatal(err)
			}
			check(151, 300)
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			q = mustOpen(t, dir, cfg)
			check(151, 300)
			for seq := uint64(300); seq > 150; seq-- {
				if err := q.Ack(seq); err != nil {
					t.Fatal(err)
				}
			}
			if q.Len() != 0 || q.Bytes() != 0 {
				t.Fatalf("Len %d Bytes %d", q.Len(), q.Bytes())
			}
			q.Close()
			q = mustOpen(t, dir, cfg)
			if seq := mustAppend(t, q, nil); seq != 301 {
				t.Fatalf("seq = %d", seq)
			}
			if rec, err := q.Next(t.Context()); err != nil || rec.Seq != 301 {
				t.Fatal(rec, err)
			}
			if l := q.Loss(); l.Records != 0 || l.Torn != 0 {
				t.Fatalf("%+v", l)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cfg  Config
		want int64 // SegmentBytes
	}{
		{Config{}, 64 << 20},
		{Config{MaxBytes: 1 << 20}, 128 << 10},
		{Config{MaxBytes: 1 << 40}, 64 << 20},
		{Config{MaxBytes: 100}, 4 << 10},
		{Config{SegmentBytes: 1}, 4 << 10},
		{Config{SegmentBytes: 1 << 40}, 1 << 30},
		{Config{SegmentBytes: 1 << 20, MaxBytes: 1 << 20}, 1 << 20},
	} {
		if c, err := tc.cfg.withDefaults(); err != nil || c.SegmentBytes != tc.want {
			t.Errorf("%+v: segments of %d, %v, want %d", tc.cfg, c.SegmentBytes, err, tc.want)
		}
	}
	for field, cfg := range map[string]Config{
		"SegmentBytes -1":  {SegmentBytes: -1},
		"MaxBytes -2":      {MaxBytes: -2},
		"Config.Full is 3": {Full: 3},
		"OnCorrupt is -1":  {OnCorrupt: -1},
	} {
		if _, err := Open(t.TempDir(), cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Open: %v, want an error that says %q", err, field)
		}
	}
}

func TestNextWaits(t *testing.T) {
	t.Parallel()
	q := mustOpen(t, t.TempDir(), Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	if _, err := q.Next(ctx); err != cause {
		t.Fatalf("err = %v, want the cause", err)
	}
	time.AfterFunc(10*time.Millisecond, func() { q.Append([]byte("x")) })
	if rec, err := q.Next(t.Context()); err != nil || string(rec.Data) != "x" {
		t.Fatal(rec, err)
	}
	time.AfterFunc(10*time.Millisecond, func() { q.Close() })
	if _, err := q.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	msg := make([]byte, 84) // 100 bytes on disk
	q := mustOpen(t, t.TempDir(), Config{MaxBytes: 1000, Full: Fail})
	for range 10 {
		mustAppend(t, q, msg)
	}
	if _, err := q.Append(msg); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if _, err := q.Append(make([]byte, 1000)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	q = mustOpen(t, t.TempDir(), Config{MaxBytes: 1000, Full: DropOldest})
	for range 25 {
		mustAppend(t, q, msg)
	}
	recs := drain(t, q)
	if len(recs) != 10 || recs[0].Seq != 16 || q.Len() != 10 || q.Loss().Records != 15 {
		t.Fatalf("%d records, Len %d, %+v", len(recs), q.Len(), q.Loss())
	}
	q = mustOpen(t, t.TempDir(), Config{MaxBytes: 1000})
	for range 10 {
		mustAppend(t, q, msg)
	}
	done := make(chan error)
	go func() { _, err := q.Append(msg); done <- err }()
	select {
	case err := <-done:
		t.Fatal("Append did not wait", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := q.Ack(1); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { _, err := q.Append(msg); done <- err }()
	q.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}

// An Append that waits for room can be given up, and then has appended nothing; one
// that need not wait does not look at its context.
func TestAppendContext(t *testing.T) {
	t.Parallel()
	msg := make([]byte, 84) // 100 bytes on disk
	q := mustOpen(t, t.TempDir(), Config{MaxBytes: 200})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	for seq := range uint64(2) {
		if got, err := q.AppendContext(ctx, msg); got != seq+1 || err != nil {
			t.Fatal(got, err)
		}
	}
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	if _, err := q.AppendContext(ctx, msg); err != cause || q.Len() != 2 {
		t.Fatalf("err = %v, want the cause; Len = %d", err, q.Len())
	}
	if err := q.Ack(1); err != nil {
		t.Fatal(err)
	}
	if seq, err := q.AppendContext(ctx, msg); seq != 3 || err != nil {
		t.Fatal(seq, err)
	}
}
