// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"os"
	"path/filepath"
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
		// Detached: a child that another test starts holds all files until it execs.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
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

// A directory on a file system that is mounted read-only: an error, and nothing left open.
func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("outbox", dir, "tmpfs", unix.MS_RDONLY, "size=1m"); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if _, err := Open(dir, Config{}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Open: %v, want EROFS", err)
	}
}

// Somebody cuts a file that is mapped: stores to it are answered with SIGBUS, which
// poisons the queue and does not end the process.
func TestFileCutByOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := mustOpen(t, dir, Config{})
	mustAppend(t, q, make([]byte, 10<<10))
	if q.tail.win == nil {
		t.Skip("no shared memory on this file system")
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	if len(names) != 1 {
		t.Fatal(names)
	}
	if err := os.Truncate(names[0], 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := q.Append([]byte("x")); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("Append: %v, want ErrPoisoned for EIO", err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, cursorName), 0); err != nil {
		t.Fatal(err)
	}
	if err := q.Ack(1); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Ack: %v, want EIO", err)
	}
	if err := q.Close(); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("Close: %v", err)
	}
	q = mustOpen(t, dir, Config{})
	mustAppend(t, q, []byte("x"))
}

func TestRetry(t *testing.T) {
	t.Parallel()
	n := 0
	err := retry(func() error {
		if n++; n < 3 {
			return unix.EINTR
		}
		return unix.EIO
	})
	if n != 3 || err != unix.EIO {
		t.Errorf("%v after %d calls", err, n)
	}
}
