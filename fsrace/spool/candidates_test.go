// SPDX-License-Identifier: MIT

package spool

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// Names that were skipped for the races lost around them come again, before it is
// said that there are no more.
func TestSkippedNamesComeAgain(t *testing.T) { // G44
	t.Parallel()
	w := newWorld(t)
	s := w.open(t, Config{})
	want := map[string]bool{}
	for i := range 100 {
		put(t, s, fmt.Sprint("j", i))
	}
	names, err := s.list(newPart)
	must(t, err)
	for _, name := range names {
		want[name] = true
	}
	got := map[string]bool{}
	for n := 0; ; n++ {
		name, err := s.jobs.next()
		if err == io.EOF {
			break
		}
		must(t, err)
		got[name] = true
		if n < 4 {
			s.jobs.raced()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("handed out (-want +got):\n%s", diff)
	}
}

// A file dropped in by hand that is written again in place, with as many bytes, has
// not come to rest; and one that a listing misses once has not gone.
func TestFileDroppedInByHandComesToRest(t *testing.T) { // G31, G32
	t.Parallel()
	const rescan = time.Minute
	for name, tc := range map[string]struct {
		rewrite bool
		want    error
	}{"written again": {true, ErrEmpty}, "missed once": {false, nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				write := func() {
					f, err := w.disk.Open(worldDir+"/new/byhand", os.O_CREATE|os.O_WRONLY, 0o644)
					must(t, err)
					f.Write([]byte("text"))
					must(t, f.Close())
				}
				write()
				listing := 0
				s := on(t, systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
					if c.Op == "readdir" && c.Path == worldDir+"/new" {
						if listing++; listing == 3 && !tc.rewrite {
							must(t, w.disk.Rename(worldDir+"/new/byhand", worldDir+"/new/.missed"))
							defer w.disk.Rename(worldDir+"/new/.missed", worldDir+"/new/byhand")
						}
					}
					return do()
				}), worldDir, Config{Rescan: rescan})
				defer s.Close()
				if _, err := s.TryClaim(); err != ErrEmpty { // two listings
					t.Fatalf("TryClaim = %v at first sight", err)
				}
				time.Sleep(rescan)
				if tc.rewrite {
					write()
				}
				if _, err := s.TryClaim(); err != tc.want {
					t.Errorf("TryClaim = %v, want %v", err, tc.want)
				}
			})
		})
	}
}

// A job that goes back while Entries reads is found where it has gone.
func TestEntriesFindsWhatGoesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	c := claim(t, w.open(t, Config{}))
	s := w.open(t, Config{})
	s.through(systest.Wrap(w.disk, func(call systest.Call, do func() error) error {
		if call.Op == "readdir" && call.Path == worldDir+"/claimed" {
			must(t, c.Release()) // new has been read
		}
		return do()
	}))
	if got, want := states(t, s), []string{"j new 0"}; !cmp.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

// Put, whose reply was lost, finds its job where it has gone back to since.
func TestPutFindsWhatGoesBack(t *testing.T) { // G28
	t.Parallel()
	w := newWorld(t)
	worker, s := w.open(t, Config{}), w.open(t, Config{})
	var c *Claim
	s.through(systest.Wrap(w.disk, func(call systest.Call, do func() error) error {
		if call.Op == "rename" && strings.HasPrefix(call.To, worldDir+"/new/") && c == nil {
			must(t, do())
			c = claim(t, worker)
			return syscall.EIO
		}
		if call.Op == "readdir" && call.Path == worldDir+"/claimed" {
			must(t, c.Release()) // new has been read
		}
		return do()
	}))
	if err := s.Put("j", strings.NewReader("")); err != nil {
		t.Error(err)
	}
	if got, want := states(t, worker), []string{"j new 0"}; !cmp.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

// Of two who wait, the first to wake up wakes the other: one signal may stand for many jobs.
func TestOneSignalWakesAllWhoFindWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, producer := w.open(t, Config{Rescan: time.Hour}), w.open(t, Config{})
		start := time.Now()
		claims := make(chan *Claim)
		for range 3 {
			go func() {
				c, err := s.Claim(t.Context())
				if err != nil {
					t.Error(err)
				}
				claims <- c
			}()
		}
		synctest.Wait()
		put(t, producer, "a", "b", "c")
		s.signal()
		for range 3 {
			if c := <-claims; c != nil {
				must(t, c.Done())
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the last one woke up after %v", took)
		}
	})
}

// A record under another's name says nothing of that other.
func TestRecordOfAnotherProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	dead, alive := w.open(t, Config{}), w.open(t, Config{})
	claim(t, alive)
	f, err := w.disk.Open(worldDir+"/workers/"+alive.owner.Nonce, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	f.Write([]byte(dead.recordText()))
	must(t, f.Close())
	if n, err := w.open(t, Config{}, dead).Reclaim(); n != 0 || err != nil {
		t.Errorf("Reclaim = %d, %v", n, err)
	}
}
