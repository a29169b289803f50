// SPDX-License-Identifier: MIT

package outbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func helper(t testing.TB, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "OUTBOX_TEST_HELPER="+role, "OUTBOX_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func killConfig(seq uint64) Config {
	return Config{SegmentBytes: 64 << 10, Sync: Every{Records: 100}, MaxBytes: 1 << 20}
}

// helpWriter appends and acknowledges as fast as it can, and says so on its
// standard output, a line for each call once it has returned, until it is killed.
func helpWriter() error {
	q, err := Open(os.Getenv("OUTBOX_TEST_DIR"), killConfig(0))
	if err != nil {
		return err
	}
	var mu sync.Mutex // one line, one write
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, format, args...)
	}
	ack := func(seq uint64) {
		say("try %d\n", seq)
		if q.Ack(seq) == nil {
			say("ack %d\n", seq)
		}
	}
	go func() {
		var behind []uint64 // acknowledged after the next one
		for {
			rec, err := q.Next(context.Background())
			if err != nil {
				return
			}
			if rec.Seq%7 == 0 {
				behind = append(behind, rec.Seq)
				continue
			}
			ack(rec.Seq)
			for _, seq := range behind {
				ack(seq)
			}
			behind = behind[:0]
		}
	}()
	for {
		next := q.nextSeq.Load()
		seq, err := q.Append(message(next, int(next%500)))
		if err != nil {
			return err
		}
		say("sent %d\n", seq)
	}
}

// G31: kill -9 at any time loses no record whose Append returned, and delivers
// none again whose Ack returned, under a policy that has not synced them.
func TestKill9(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "with space")
	sent, acked, tried := map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	enough := func() bool { return len(sent) >= 100 && len(acked) >= 20 }
	for round := 0; round < rounds || !enough() && round < 100; round++ { // it may be killed before it gets to acknowledge
		cmd := helper(t, "writer", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		stop := 1 + rand.IntN(5000)
		for n := 0; lines.Scan(); n++ {
			if n == stop {
				cmd.Process.Kill() // and read what it had said
			}
			var seq uint64
			var what string
			if _, err := fmt.Sscanf(lines.Text(), "%s %d", &what, &seq); err != nil {
				continue // cut off
			}
			map[string]map[uint64]bool{"sent": sent, "ack": acked, "try": tried}[what][seq] = true
		}
		if cmd.Wait() == nil {
			t.Fatal("the writer ended by itself")
		}

		q := mustOpen(t, dir, killConfig(0))
		got := map[uint64]bool{}
		for _, rec := range drain(t, q) {
			if !slices.Equal(rec.Data, message(rec.Seq, int(rec.Seq%500))) {
				t.Fatalf("round %d: record %d has other bytes", round, rec.Seq)
			}
			if acked[rec.Seq] {
				t.Fatalf("round %d: record %d was acknowledged and is delivered again", round, rec.Seq)
			}
			got[rec.Seq] = true
		}
		for seq := range sent {
			if !tried[seq] && !got[seq] {
				t.Fatalf("round %d: record %d is lost: %+v", round, seq, q.Loss())
			}
		}
		if l := q.Loss(); l.Records != 0 {
			t.Fatalf("%+v", l)
		}
		if q.Len() != len(got) {
			t.Fatalf("Len %d with %d records", q.Len(), len(got))
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !enough() {
		t.Fatalf("%d sent, %d acknowledged: the writer did nothing", len(sent), len(acked))
	}
}

func helpLocker() error {
	q, err := Open(os.Getenv("OUTBOX_TEST_DIR"), Config{})
	if errors.Is(err, ErrLocked) {
		fmt.Println("locked")
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Println("open")
	return q.Close()
}

// Two processes, and two Queues in one, cannot have a queue at the same time.
func TestOneOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := mustOpen(t, dir, Config{})
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second Open: %v, want ErrLocked", err)
	}
	for _, want := range []string{"locked", "open"} {
		out, err := helper(t, "locker", dir).Output()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Fatalf("%q, %v, want %s", out, err, want)
		}
		q.Close()
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("permission bits do not stop this user")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Config{}); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("Open: %v, want ErrPermission", err)
	}
}

// B23, B26: Open takes no memory for what is waiting.
func TestOpenLeavesBacklogOnDisk(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{SegmentBytes: 2 << 20, Sync: Never}
	q := mustOpen(t, dir, cfg)
	msg := message(1, 1000)
	const n = 64 << 10 // 64 MiB
	for range n {
		mustAppend(t, q, msg)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	q = mustOpen(t, dir, cfg)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("Open allocated %d bytes in all", got)
	}
	if q.Len() != n || q.Bytes() != n*1016 {
		t.Errorf("Len %d, Bytes %d", q.Len(), q.Bytes())
	}
}

// Everything at once, for the race detector and for lost wake-ups.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	for name, sync := range map[string]SyncPolicy{"always": Always, "every": Every{Records: 10, Interval: time.Millisecond}, "never": Never} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			concurrentUse(t, sync)
		})
	}
}

func concurrentUse(t *testing.T, policy SyncPolicy) {
	dir := t.TempDir()
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		var err error
		if dir, err = os.MkdirTemp("/dev/shm", "outbox"); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	q := mustOpen(t, dir, Config{SegmentBytes: 8 << 10, MaxBytes: 32 << 10, Sync: policy})
	const writers, each = 8, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := q.Append(fmt.Appendf(nil, "%d %d", w, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	left := writers * each
	for r := range 4 {
		wg.Go(func() {
			for {
				rec, err := q.Next(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				seen[string(rec.Data)]++
				if seen[string(rec.Data)] == 1 {
					left--
				}
				done := left == 0
				mu.Unlock()
				if err := q.Ack(rec.Seq); err != nil {
					t.Error(err)
				}
				if r == 0 && rec.Seq%100 == 0 {
					q.Rewind()
					q.Sync()
					q.Len()
					q.Loss()
				}
				if done {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if len(seen) != writers*each || q.Len() != 0 || q.Bytes() != 0 {
		t.Errorf("%d messages, Len %d, Bytes %d", len(seen), q.Len(), q.Bytes())
	}
}
