// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-b08dbae9/sysprim/fsrace"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

func TestEvictedWorkerIsOffTheList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	far, s := w.open(t, Config{}), unreachable(w.open(t, Config{}))
	claim(t, far)
	f, err := w.disk.Open(worldDir+"/tmp/"+far.moved(file{name: "half", id: newID()}).String(), os.O_WRONLY|os.O_CREATE, 0o644)
	must(t, err)
	f.Close()
	if n, err := s.Evict(far.owner.Nonce); n != 1 || err != nil {
		t.Fatalf("Evict = %d, %v", n, err)
	}
	owners, err := s.Workers()
	must(t, err)
	if want := []fsrace.Owner{s.owner}; !cmp.Equal(owners, want) {
		t.Errorf("workers %v, want only %v", owners, want)
	}
	if litter, _ := s.list(tmpPart); len(litter) > 0 {
		t.Errorf("left in tmp: %q", litter)
	}
	_, err = unreachable(far).Reclaim() // as Claim does by itself
	must(t, err)
	if owners, _ := s.Workers(); len(owners) != 2 {
		t.Errorf("workers %v, want the one that lives on too", owners)
	}
	for _, nonce := range []string{"", "x", "../new", newID()} {
		if n, err := s.Evict(nonce); n != 0 || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Evict(%q) = %d, %v; want fs.ErrNotExist", nonce, n, err)
		}
	}
	must(t, far.Close())
	if _, err := far.Reclaim(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Reclaim = %v", err)
	}
	if owners, _ := s.Workers(); len(owners) != 1 {
		t.Errorf("workers %v after Close, want one", owners)
	}
}

func TestJudgedWorkersAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := unreachable(w.open(t, Config{Lease: time.Hour}))
	defer s.Close()
	for range 20 {
		other := w.open(t, Config{Lease: time.Hour})
		_, err := s.Reclaim()
		must(t, err)
		must(t, other.Close())
	}
	_, err := s.Reclaim()
	must(t, err)
	if len(s.judged) > 0 {
		t.Errorf("%d closed workers are remembered", len(s.judged))
	}
}

func TestPruneRemovesOrphans(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), Config{})
	put(t, s, "a")
	must(t, claim(t, s).Fail("kept"))
	orphan := s.path(failedPart, s.moved(file{name: "b", id: newID()}).String()+reasonSuffix)
	must(t, os.WriteFile(orphan, []byte("why"), 0o644))
	_, err := s.Prune(0)
	must(t, err)
	if n := files(t, s, failedPart); n != 3 {
		t.Errorf("%d files in failed, want 3: it may have been written just now", n)
	}
	old := time.Now().Add(-2 * keepRecords)
	names, err := s.list(failedPart)
	must(t, err)
	for _, base := range names {
		must(t, os.Chtimes(s.path(failedPart, base), old, old))
	}
	_, err = s.Prune(0)
	must(t, err)
	entries, err := s.Entries()
	must(t, err)
	if n := files(t, s, failedPart); n != 2 || len(entries) != 1 || entries[0].Reason != "kept" {
		t.Errorf("%d files in failed, %+v; want the job and its reason", n, entries)
	}
}

// Close comes while an evicted instance puts itself back on the list: it stays off.
func TestCloseWhileComingBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	far, s := w.open(t, Config{}), w.open(t, Config{})
	put(t, far, "j") // so that its record is kept
	_, err := s.Evict(far.owner.Nonce)
	must(t, err)
	came := false
	far.through(systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
		if c.Op == "rename" && strings.HasSuffix(c.To, workersPart+"/"+far.owner.Nonce) {
			came = true
			must(t, far.Close())
		}
		return do()
	}))
	far.Reclaim()
	if owners, _ := s.Workers(); !came || len(owners) != 1 {
		t.Errorf("it came back: %t; workers %v, want only the other", came, owners)
	}
	if r, err := s.record(far.owner.Nonce); err != nil || r.owner != far.owner {
		t.Errorf("its record is %v, %v", r, err)
	}
}
