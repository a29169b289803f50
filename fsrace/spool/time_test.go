// SPDX-License-Identifier: MIT

package spool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-b08dbae9/sysprim/fsrace"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// unreachable makes every worker one that cannot be judged, as of another host.
func unreachable(s *Spool) *Spool {
	s.liveness = func(fsrace.Owner) fsrace.Liveness { return fsrace.Unknown }
	return s
}

// A cable to the disk can be cut, as for a host that the network has lost.
type cable struct {
	sys.FS
	cut atomic.Bool
}

func plug(under sys.FS) *cable {
	c := &cable{}
	c.FS = systest.Wrap(under, func(_ systest.Call, do func() error) error {
		if c.cut.Load() {
			return syscall.EIO
		}
		return do()
	})
	return c
}

func TestUnknownIsNeverDead(t *testing.T) { // G35, G36, G37
	t.Parallel()
	w := newWorld(t, "j")
	far := w.open(t, Config{})
	claim(t, far)
	judge := unreachable(w.open(t, Config{}))
	for range 3 {
		if n, err := judge.Reclaim(); n != 0 || err != nil {
			t.Errorf("Reclaim = %d, %v; want nothing without proof", n, err)
		}
	}
	owners, err := judge.Workers()
	must(t, err)
	if len(owners) != 2 {
		t.Errorf("workers %v, want the far one listed", owners)
	}
	// A record that is lost or mangled is no proof either.
	for _, mangle := range []string{"", "sysprim spool worker 2\n", "x\ny\nz\n\n"} {
		f, err := w.disk.Open(worldDir+"/workers/"+far.owner.Nonce, os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		f.Write([]byte(mangle))
		f.Close()
		judge.liveness = func(fsrace.Owner) fsrace.Liveness { return fsrace.Dead }
		if n, err := judge.Reclaim(); n != 0 || err != nil {
			t.Errorf("with record %q: Reclaim = %d, %v", mangle, n, err)
		}
		owners, err = judge.Workers()
		must(t, err)
		found := false
		for _, o := range owners {
			found = found || o == fsrace.Owner{Nonce: far.owner.Nonce}
		}
		if !found {
			t.Errorf("with record %q: workers %v, want the nonce", mangle, owners)
		}
	}
	if n, err := judge.Evict(far.owner.Nonce); n != 1 || err != nil {
		t.Errorf("Evict = %d, %v; want 1", n, err)
	}
	must(t, once(w.disk, "j"))
}

func TestLeaseIsJudgedByTheJudgesClock(t *testing.T) { // G38
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "j")
		const term = time.Minute
		cable := plug(w.disk)
		holder := on(t, cable, worldDir, Config{Lease: term})
		judge := unreachable(w.open(t, Config{Lease: term}))
		defer judge.Close()
		c := claim(t, holder)
		time.Sleep(time.Second) // never in step with the renewals
		// While it is renewed, it is never too old.
		for range 20 {
			time.Sleep(term / 4)
			if n, err := judge.Reclaim(); n != 0 || err != nil {
				t.Fatalf("Reclaim = %d, %v from one who renews", n, err)
			}
		}
		// The holder stands still: it is cut off from the disk.
		synctest.Wait()
		cable.cut.Store(true) // the judge has just seen the last renewal
		time.Sleep(term - time.Second)
		if n, err := judge.Reclaim(); n != 0 || err != nil {
			t.Errorf("Reclaim = %d, %v before the term was over", n, err)
		}
		time.Sleep(time.Second)
		if n, err := judge.Reclaim(); n != 1 || err != nil {
			t.Errorf("Reclaim = %d, %v after the term, want 1", n, err)
		}
		owners, err := judge.Workers()
		must(t, err)
		if want := []fsrace.Owner{judge.owner}; !cmp.Equal(owners, want) {
			t.Errorf("workers %v, want only the judge", owners)
		}
		// It comes back, can do no harm, and is listed again after its next renewal.
		cable.cut.Store(false)
		if err := c.Check(); !errors.Is(err, ErrClaimLost) {
			t.Errorf("Check = %v, want ErrClaimLost", err)
		}
		for name, err := range map[string]error{"Done": c.Done(), "Release": c.Release(), "Fail": c.Fail(""), "Retry": c.Retry("")} {
			if !errors.Is(err, ErrClaimLost) {
				t.Errorf("%s = %v, want ErrClaimLost", name, err)
			}
		}
		time.Sleep(term)
		if owners, _ := judge.Workers(); len(owners) != 2 {
			t.Errorf("workers %v, want the one that came back too", owners)
		}
		must(t, holder.Close())
		must(t, once(w.disk, "j"))
		if c := claim(t, judge); c.Attempt() != 2 {
			t.Errorf("attempt %d, want 2: the lost one counts", c.Attempt())
		}
	})
}

func TestLeaseNeedsAPromise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, tc := range map[string]struct {
			holder time.Duration
			judge  time.Duration
			after  time.Duration // the job is taken once the holder was silent so long; 0: never
		}{
			"no promise":      {0, time.Minute, 0},
			"no lease here":   {time.Minute, 0, 0},
			"a longer one":    {time.Hour, time.Minute, time.Hour},
			"a shorter one":   {time.Second, time.Minute, time.Minute},
			"the same length": {time.Minute, time.Minute, time.Minute},
		} {
			w := newWorld(t, "j")
			cable := plug(w.disk)
			holder := on(t, cable, worldDir, Config{Lease: tc.holder})
			judge := unreachable(w.open(t, Config{Lease: tc.judge}))
			claim(t, holder)
			cable.cut.Store(true)
			judge.Reclaim()
			var after time.Duration
			for range 24 * 60 {
				time.Sleep(time.Minute)
				after += time.Minute
				if n, _ := judge.Reclaim(); n > 0 {
					break
				}
			}
			if tc.after == 0 {
				tc.after = 24 * time.Hour
			}
			if after != tc.after {
				t.Errorf("%s: reclaimed after %v, want %v", name, after, tc.after)
			}
			holder.Close()
			must(t, judge.Close())
		}
	})
}

func TestClaimFindsWhatOthersPutWithinRescan(t *testing.T) { // G44
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		producer, worker := w.open(t, Config{}), w.open(t, Config{Rescan: time.Minute})
		for range 10 {
			time.AfterFunc(time.Hour, func() { put(t, producer, "j") })
			start := time.Now()
			c, err := worker.Claim(t.Context())
			must(t, err)
			if took := time.Since(start) - time.Hour; took < 0 || took > time.Minute {
				t.Errorf("found it after %v, want at most a minute", took)
			}
			must(t, c.Done())
		}
		// What was put through the same instance is found at once.
		for _, n := range []int{1, 5} {
			got := make(chan *Claim)
			for range n {
				go func() {
					c, err := worker.Claim(t.Context())
					if err != nil {
						t.Error(err)
					}
					got <- c
				}()
			}
			synctest.Wait()
			start := time.Now()
			for range n {
				put(t, worker, "j")
			}
			for range n {
				must(t, (<-got).Done())
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("%d waiting claims took %v, want no time", n, took)
			}
		}
	})
}

func TestClaimReclaimsWhileItWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "j")
		claim(t, w.open(t, Config{}))
		worker := w.open(t, Config{Rescan: time.Minute})
		start := time.Now()
		worker.liveness = func(fsrace.Owner) fsrace.Liveness {
			if time.Since(start) < time.Hour {
				return fsrace.Unknown
			}
			return fsrace.Dead
		}
		c, err := worker.Claim(t.Context())
		must(t, err)
		if took := time.Since(start) - time.Hour; took < 0 || took > 2*time.Minute || c.Attempt() != 2 {
			t.Errorf("got attempt %d %v after the death, want 2 within two rescans", c.Attempt(), took)
		}
	})
}

func TestClaimGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t).open(t, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err := s.Claim(ctx)
		if err != context.DeadlineExceeded || time.Since(start) != time.Hour {
			t.Errorf("Claim = %v after %v, want DeadlineExceeded after exactly 1h", err, time.Since(start))
		}
	})
}

// The one who cannot do the work does not snatch the job back: a job that was
// released goes to another who waits, though the releaser is the first to look.
func TestReleasedJobGoesToAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		unfit, fit, producer := w.open(t, Config{}), w.open(t, Config{}), w.open(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		releases := 0
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				c, err := unfit.Claim(ctx)
				if err != nil {
					return
				}
				releases++
				must(t, c.Release())
			}
		}()
		const jobs = 20
		for range jobs {
			put(t, producer, "j")
			time.Sleep(10 * time.Millisecond)
		}
		for range jobs {
			c, err := fit.Claim(t.Context())
			must(t, err)
			if c.Attempt() != 1 {
				t.Errorf("attempt %d: a release was counted", c.Attempt())
			}
			must(t, c.Done())
		}
		cancel()
		<-stopped
		if releases > 4*jobs {
			t.Errorf("%d releases of %d jobs", releases, jobs)
		}
		// Alone, it gets the job again after its rest, and from TryClaim at once.
		put(t, producer, "k")
		c, err := unfit.Claim(t.Context())
		must(t, err)
		must(t, c.Release())
		start := time.Now()
		c, err = unfit.Claim(t.Context())
		must(t, err)
		if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("offered again after %v, want 2 to 3 s", took)
		}
		must(t, c.Release())
		must(t, claim(t, unfit).Done())
	})
}

// A file that cp(1) is still writing is not claimed; once it stands still, it is. G32
func TestFileDroppedInByHand(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir, Config{Rescan: time.Minute})
		must(t, err)
		defer s.Close()
		path := filepath.Join(dir, newPart, "report.xml")
		f, err := os.Create(path)
		must(t, err)
		for range 5 {
			_, err := f.WriteString("part ")
			must(t, err)
			for range 3 {
				if _, err := s.TryClaim(); err != ErrEmpty {
					t.Fatalf("a growing file was claimed: %v", err)
				}
				time.Sleep(19 * time.Second)
			}
		}
		must(t, f.Close())
		if got, want := states(t, s), []string{"report.xml new 0"}; !cmp.Equal(got, want) {
			t.Errorf("entries %q, want %q", got, want)
		}
		s.TryClaim()
		time.Sleep(time.Minute)
		c := claim(t, s)
		if c.Name() != "report.xml" || content(t, c) != strings.Repeat("part ", 5) {
			t.Errorf("claimed %s: %q", c.Name(), content(t, c))
		}
		must(t, c.Release())
		// Now it has a name of ours, and need not settle again.
		must(t, claim(t, s).Done())
		if s.jobs.foreign[path].pass != 0 || len(s.jobs.foreign) != 0 {
			t.Errorf("still watched: %v", s.jobs.foreign)
		}
	})
}

// A worker that renews is not disturbed by a disk that fails for a while.
func TestLeaseIsNotJudgedByALookThatTookLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "j")
		const term = time.Minute
		holder := w.open(t, Config{Lease: term})
		defer holder.Close()
		c := claim(t, holder)
		var slow atomic.Bool
		judge := unreachable(on(t, systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
			err := do()
			if slow.Load() && c.Op == "read" && strings.HasSuffix(c.Path, holder.owner.Nonce) {
				time.Sleep(2 * term)
			}
			return err
		}), worldDir, Config{Lease: term}))
		defer judge.Close()
		judge.Reclaim()
		time.Sleep(time.Second)
		slow.Store(true)
		if n, err := judge.Reclaim(); n != 0 || err != nil {
			t.Errorf("Reclaim = %d, %v from one who renews", n, err)
		}
		must(t, c.Done())
	})
}

func TestIdleWorkersDoNotReadEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 20 {
			w.open(t, Config{})
		}
		s := w.open(t, Config{})
		reads := 0
		s.through(systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
			if c.Op == "open" && filepath.Base(filepath.Dir(c.Path)) == workersPart {
				reads++
			}
			return do()
		}))
		ctx, cancel := newCause(t, errors.New("enough"))
		time.AfterFunc(100*time.Second, cancel)
		s.Claim(ctx)
		if reads > 11*20 {
			t.Errorf("%d records read in 100 rescans, want at most 11 of each of 20", reads)
		}
	})
}
