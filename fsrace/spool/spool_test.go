// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-b08dbae9/sysprim/fsrace"
)

func TestLifeOfAJob(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), Config{Label: "one"})
	put(t, s, "a")
	if got, want := states(t, s), []string{"a new 0"}; !cmp.Equal(got, want) {
		t.Fatalf("after Put: %q, want %q", got, want)
	}
	c := claim(t, s)
	if c.Name() != "a" || c.Attempt() != 1 || c.Generation() != 1 || c.Owner().Label != "one" || content(t, c) != "content of a" {
		t.Errorf("claimed %s, attempt %d, generation %d, by %v: %q", c.Name(), c.Attempt(), c.Generation(), c.Owner(), content(t, c))
	}
	if got, want := states(t, s), []string{"a claimed 1"}; !cmp.Equal(got, want) {
		t.Fatalf("after Claim: %q, want %q", got, want)
	}
	if _, err := s.TryClaim(); err != ErrEmpty {
		t.Errorf("a second claim gave %v, want ErrEmpty", err)
	}
	if n, err := s.Reclaim(); n != 0 || err != nil {
		t.Errorf("Reclaim = %d, %v of what is held here", n, err)
	}
	must(t, c.Check())
	must(t, c.Done())
	if got, want := states(t, s), []string{"a done 1"}; !cmp.Equal(got, want) {
		t.Fatalf("after Done: %q, want %q", got, want)
	}
	must(t, c.Done()) // again is no error
	for name, err := range map[string]error{"Release": c.Release(), "Fail": c.Fail("x"), "Retry": c.Retry("x"), "Check": c.Check()} {
		if !errors.Is(err, fs.ErrClosed) || errors.Is(err, ErrClaimLost) {
			t.Errorf("%s after Done = %v, want fs.ErrClosed", name, err)
		}
	}
	if _, err := c.Open(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Open after Done = %v, want fs.ErrClosed", err)
	}
}

func TestReleaseDoesNotCountTheAttempt(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), Config{MaxAttempts: 2})
	put(t, s, "a")
	var id string
	for i := range 5 {
		c := claim(t, s)
		if c.Attempt() != 1 || c.Generation() != i+1 {
			t.Fatalf("claim %d: attempt %d, generation %d", i, c.Attempt(), c.Generation())
		}
		if id == "" {
			id = c.ID()
		}
		if c.ID() != id {
			t.Fatalf("claim %d: ID %s, was %s", i, c.ID(), id)
		}
		must(t, c.Release())
	}
	if got, want := states(t, s), []string{"a new 0"}; !cmp.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRetryCountsAndFailsAtMaxAttempts(t *testing.T) { // G43
	t.Parallel()
	s := start(t, t.TempDir(), Config{MaxAttempts: 2})
	put(t, s, "a")
	must(t, claim(t, s).Retry("cluster down"))
	if got, want := states(t, s), []string{"a new 1"}; !cmp.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	must(t, claim(t, s).Retry("cluster down"))
	entries, err := s.Entries()
	must(t, err)
	if len(entries) != 1 || entries[0].State != Failed || entries[0].Reason != "attempt 2 of 2: cluster down" {
		t.Errorf("%+v, want one failed", entries)
	}
}

func TestFailKeepsTheReason(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), Config{Label: "w"})
	put(t, s, "a", "b")
	must(t, claim(t, s).Fail("no such\nuser"))
	must(t, claim(t, s).Fail(strings.Repeat("x", maxReason+10)))
	entries, err := s.Entries()
	must(t, err)
	reasons := map[string]bool{}
	for _, e := range entries {
		if e.State != Failed || e.Owner.Label != "w" {
			t.Errorf("%+v, want failed by w", e)
		}
		reasons[e.Reason] = true
	}
	if want := map[string]bool{"no such\nuser": true, strings.Repeat("x", maxReason) + "… (10 bytes cut)": true}; !cmp.Equal(reasons, want) {
		t.Errorf("reasons %v, want %v", reasons, want)
	}
}

func TestRequeueAndPrune(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), Config{})
	put(t, s, "a")
	c := claim(t, s)
	must(t, c.Fail("why"))
	if err := s.Requeue("0123456789abcdef"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Requeue of nothing = %v", err)
	}
	must(t, s.Requeue(c.ID()))
	if files(t, s, failedPart) != 0 {
		t.Error("the reason stayed behind")
	}
	c = claim(t, s)
	if c.Attempt() != 1 || c.Generation() != 2 {
		t.Errorf("attempt %d, generation %d; want 1, 2", c.Attempt(), c.Generation())
	}
	must(t, c.Done())
	put(t, s, "b")
	if n, err := s.Prune(time.Hour); n != 0 || err != nil {
		t.Errorf("Prune(1h) = %d, %v", n, err)
	}
	old := time.Now().Add(-2 * time.Hour)
	for _, part := range []string{donePart, newPart} {
		names, err := s.list(part)
		must(t, err)
		for _, base := range names {
			must(t, os.Chtimes(s.path(part, base), old, old))
		}
	}
	if n, err := s.Prune(time.Hour); n != 1 || err != nil {
		t.Errorf("Prune(1h) = %d, %v, want 1", n, err)
	}
	if got, want := states(t, s), []string{"b new 0"}; !cmp.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPruneKeepsTheRecordsOfThoseWhomJobsName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	named, idle, s := start(t, dir, Config{Label: "named"}), start(t, dir, Config{}), start(t, dir, Config{})
	put(t, named, "a")
	c := claim(t, idle)
	must(t, c.Release())
	c = claim(t, named)
	must(t, c.Fail("why"))
	must(t, named.Close())
	must(t, idle.Close())
	old := time.Now().Add(-2 * time.Hour)
	names, err := s.list(retiredPart)
	must(t, err)
	if len(names) != 2 {
		t.Fatalf("retired: %q, want two", names)
	}
	for _, base := range names {
		must(t, os.Chtimes(s.path(retiredPart, base), old, old))
	}
	_, err = s.Prune(0)
	must(t, err)
	entries, err := s.Entries()
	must(t, err)
	if len(entries) != 1 || entries[0].Owner.Label != "named" || files(t, s, retiredPart) != 1 {
		t.Errorf("%+v, %d records, want the one of whom the job names", entries, files(t, s, retiredPart))
	}
}

func TestTwoJobsOfOneNameAreTwoJobs(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), Config{})
	put(t, s, "a", "a", "A")
	ids := map[string]bool{}
	for range 3 {
		c := claim(t, s)
		ids[c.ID()] = true
		must(t, c.Done())
	}
	if len(ids) != 3 {
		t.Errorf("IDs %v, want three", ids)
	}
}

func TestClosedSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, other := start(t, dir, Config{}), start(t, dir, Config{})
	put(t, s, "a")
	c := claim(t, s)
	must(t, s.Close())
	must(t, s.Close())
	// What it held is there for others, and the attempt does not count.
	if err := c.Done(); !errors.Is(err, ErrClaimLost) {
		t.Errorf("Done after Close = %v, want ErrClaimLost", err)
	}
	if c := claim(t, other); c.Attempt() != 1 || c.Generation() != 2 {
		t.Errorf("attempt %d, generation %d; want 1, 2", c.Attempt(), c.Generation())
	}
	_, claimErr := s.Claim(t.Context())
	_, tryErr := s.TryClaim()
	_, reclaimErr := s.Reclaim()
	_, evictErr := s.Evict("x")
	_, pruneErr := s.Prune(0)
	for name, err := range map[string]error{
		"Put": s.Put("b", strings.NewReader("")), "Claim": claimErr, "TryClaim": tryErr,
		"Reclaim": reclaimErr, "Evict": evictErr, "Prune": pruneErr, "Requeue": s.Requeue("x"),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s on a closed spool = %v, want fs.ErrClosed", name, err)
		}
	}
	owners, err := other.Workers()
	must(t, err)
	if len(owners) != 1 || owners[0] != other.owner {
		t.Errorf("workers %v, want only the other", owners)
	}
}

func TestClaimWaitsForTheContextAndForClose(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), Config{})
	why := errors.New("enough")
	ctx, cancel := newCause(t, why)
	cancel()
	put(t, s, "a")
	if _, err := s.Claim(ctx); err != why {
		t.Errorf("Claim with a done context = %v, want its cause", err)
	}
	must(t, claim(t, s).Done())
	got := make(chan error)
	go func() {
		_, err := s.Claim(t.Context())
		got <- err
	}()
	must(t, s.Close())
	if err := <-got; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Claim during Close = %v, want fs.ErrClosed", err)
	}
}

func TestWorkersShowTheForgottenInstance(t *testing.T) { // G42
	t.Parallel()
	dir := t.TempDir()
	cron, forgotten := start(t, dir, Config{Label: "cron"}), start(t, dir, Config{Label: "cron on the old host"})
	put(t, cron, "a", "b")
	mine, theirs := claim(t, cron), claim(t, forgotten)
	owners, err := cron.Workers()
	must(t, err)
	if want := []fsrace.Owner{cron.owner, forgotten.owner}; !cmp.Equal(owners, want) {
		t.Errorf("Workers = %v, want %v", owners, want)
	}
	entries, err := cron.Entries()
	must(t, err)
	holders := map[string]fsrace.Owner{}
	for _, e := range entries {
		holders[e.Name] = e.Owner
		if e.State != Claimed || e.Age > time.Hour {
			t.Errorf("%+v, want claimed lately", e)
		}
	}
	if want := map[string]fsrace.Owner{mine.Name(): cron.owner, theirs.Name(): forgotten.owner}; !cmp.Equal(holders, want) {
		t.Errorf("holders %v, want %v", holders, want)
	}
	if forgotten.owner.PID != os.Getpid() || theirs.Owner() != forgotten.owner {
		t.Errorf("owner %v", theirs.Owner())
	}
}

func TestObserverChangesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	if _, err := Open(dir, Config{Observer: true}); !errors.Is(err, fs.ErrNotExist) && !isFormatError(err) {
		t.Errorf("Open of nothing = %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an observer made the directory")
	}
	s := start(t, dir, Config{})
	put(t, s, "a")
	o := start(t, dir, Config{Observer: true})
	if got, want := states(t, o), []string{"a new 0"}; !cmp.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	owners, err := o.Workers()
	must(t, err)
	if len(owners) != 1 {
		t.Errorf("workers %v, want one", owners)
	}
	_, claimErr := o.TryClaim()
	_, reclaimErr := o.Reclaim()
	for name, err := range map[string]error{"Put": o.Put("b", strings.NewReader("")), "TryClaim": claimErr, "Reclaim": reclaimErr} {
		if !errors.Is(err, ErrObserver) {
			t.Errorf("%s = %v, want ErrObserver", name, err)
		}
	}
}
