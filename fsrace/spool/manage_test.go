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

// G37: after a reboot the old claims are of another boot, of a host of the same name.
// That proves nothing: they stay until somebody says so, or a lease that was promised
// has run out.
func TestClaimsOfAnEarlierBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "before", "listed no more", "elsewhere", "now")
	boot := fsrace.Self("").BootID
	if boot == "" {
		t.Skip("no boot ids here")
	}
	was := func(host, boot string) *Spool {
		s := w.open(t, Config{})
		s.owner.Host, s.owner.BootID = host, boot
		must(t, s.register(false))
		return s
	}
	before, unlisted, elsewhere, now := was("web1", "b0"), was("web1", "b0"), was("web2", "b0"), was("web1", boot)
	for _, s := range []*Spool{before, unlisted, elsewhere, now} {
		claim(t, s)
	}
	must(t, w.disk.Rename(worldDir+"/workers/"+unlisted.owner.Nonce, worldDir+"/retired/"+unlisted.owner.Nonce))
	junk, err := w.disk.Open(worldDir+"/workers/junk", os.O_WRONLY|os.O_CREATE, 0o644)
	must(t, err)
	junk.Close()

	s := w.open(t, Config{})
	s.liveness = fsrace.Owner.Liveness
	s.owner.Host = "web1"
	if n, err := s.Reclaim(); n != 0 || err != nil {
		t.Fatalf("Reclaim = %d, %v: a boot id proved a death", n, err)
	}
	for _, tc := range []struct {
		host string
		want int
	}{{"web", 0}, {"", 0}, {"web1", 2}, {"web1", 0}, {"web2", 1}} {
		if n, err := s.EvictHost(tc.host); n != tc.want || err != nil {
			t.Errorf("EvictHost(%q) = %d, %v; want %d", tc.host, n, err, tc.want)
		}
	}
	if held, _ := s.list(claimedPart); len(held) != 1 || !strings.Contains(held[0], now.owner.Nonce) {
		t.Errorf("claimed: %q, want only what was claimed since the boot", held)
	}
	owners, err := s.Workers()
	must(t, err)
	if len(owners) != 2 || owners[0].Nonce != now.owner.Nonce || owners[1].Nonce != s.owner.Nonce {
		t.Errorf("workers: %v", owners)
	}

	// A record that cannot be read is nobody's in particular, and said to be there.
	junk, err = w.disk.Open(worldDir+"/workers/"+newID(), os.O_WRONLY|os.O_CREATE, 0o644)
	must(t, err)
	junk.Close()
	if n, err := s.EvictHost("web1"); n != 0 || !errors.Is(err, errRecord) {
		t.Errorf("EvictHost past an empty record = %d, %v", n, err)
	}
	// Where there are no boot ids, nobody can be told from those of this boot.
	s.owner.BootID, now.owner.BootID = "", ""
	must(t, now.register(false))
	if n, _ := s.EvictHost("web1"); n != 0 {
		t.Errorf("EvictHost without boot ids = %d", n)
	}
	must(t, s.Close())
	if _, err := s.EvictHost("web1"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("EvictHost after Close = %v", err)
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
