// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// G28: a real file system of 1 MiB, full and then not.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("outbox", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	q, err := Open(dir, Config{SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	fill := func() (n uint64) {
		for {
			next := q.nextSeq.Load()
			if _, err := q.Append(message(next, 1000)); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("Append: %v", err)
				}
				return n
			}
			n++
		}
	}
	n := fill()
	if n < 800 {
		t.Fatalf("%d records fit into 1 MiB", n)
	}
	for seq := uint64(1); seq <= n/2; seq++ {
		if err := q.Ack(seq); err != nil {
			t.Fatal(err)
		}
	}
	more := fill()
	if more < n/3 {
		t.Fatalf("%d records fit after %d were acknowledged", more, n/2)
	}
	for range 2 {
		recs := drain(t, q)
		if len(recs) != int(n-n/2+more) || q.Len() != len(recs) {
			t.Fatalf("%d records, Len %d, want %d", len(recs), q.Len(), n-n/2+more)
		}
		for i, rec := range recs {
			if rec.Seq != n/2+1+uint64(i) || string(rec.Data) != string(message(rec.Seq, 1000)) {
				t.Fatalf("record %d is wrong", rec.Seq)
			}
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if q, err = Open(dir, Config{SegmentBytes: 64 << 10}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}
