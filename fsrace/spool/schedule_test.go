// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// A world is a spool on a model disk, and what has been seen of it.
type world struct {
	disk *systest.Disk
}

const worldDir = "/spool"

// newWorld makes a spool in which the jobs wait.
func newWorld(t testing.TB, jobs ...string) *world {
	t.Helper()
	w := &world{disk: systest.NewDisk()}
	must(t, w.disk.Mkdir(worldDir, 0o755))
	must(t, w.disk.SyncDir("/"))
	s := w.open(t, Config{})
	put(t, s, jobs...)
	must(t, s.Close())
	return w
}

func (w *world) open(t testing.TB, cfg Config, dead ...*Spool) *Spool {
	t.Helper()
	return on(t, w.disk, worldDir, cfg, dead...)
}

// through is s by another way to the file system.
func (s *Spool) through(fsys sys.FS) *Spool {
	s.fs = fsys
	return s
}

// where tells in which parts the jobs are, and that each is whole.
func where(disk *systest.Disk) (map[string][]string, error) {
	places := map[string][]string{}
	for name, data := range disk.Files() {
		dir, base := path.Split(strings.TrimPrefix(name, worldDir+"/"))
		part := strings.TrimSuffix(dir, "/")
		if part != newPart && part != claimedPart && part != donePart && part != failedPart {
			continue
		}
		job, ok := parseFile(base)
		if !ok {
			if part == failedPart && strings.HasSuffix(base, reasonSuffix) {
				continue
			}
			return nil, fmt.Errorf("stray file %s", name)
		}
		if data != "content of "+job.name {
			return nil, fmt.Errorf("%s holds %q", name, data)
		}
		places[job.name] = append(places[job.name], part)
	}
	return places, nil
}

// once is the invariant: each job is in exactly one place.
func once(disk *systest.Disk, jobs ...string) error {
	places, err := where(disk)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if len(places[job]) != 1 {
			return fmt.Errorf("job %s is in %q", job, places[job])
		}
	}
	if len(places) != len(jobs) {
		return fmt.Errorf("places %q, want those of %q", places, jobs)
	}
	return nil
}

// jobCalls lets the schedule decide on the calls that read or move jobs, and makes
// all others (records of workers, temporary files) at once: no two actors of these
// tests meet there.
type jobCalls struct {
	sys.FS // the disk
	sched  sys.FS
}

func (j jobCalls) pick(name string) sys.FS {
	part, _, _ := strings.Cut(strings.TrimPrefix(name, worldDir+"/"), "/")
	switch part {
	case newPart, claimedPart, donePart, failedPart:
		return j.sched
	}
	return j.FS
}

func (j jobCalls) Lstat(name string) (sys.Info, error)   { return j.pick(name).Lstat(name) }
func (j jobCalls) Unlink(name string) error              { return j.pick(name).Unlink(name) }
func (j jobCalls) ReadDir(name string) ([]string, error) { return j.pick(name).ReadDir(name) }
func (j jobCalls) Rename(from, to string) error          { return j.pick(to).Rename(from, to) }

// interleave runs the race under every order of the calls that touch jobs.
func interleave(t *testing.T, race func(w *world) (actors []func(through func(*Spool) *Spool), check func() error)) {
	t.Helper()
	limit := 200_000
	if testing.Short() {
		limit = 2_000
	}
	ran, err := systest.Interleave(limit, func() systest.Race {
		w := newWorld(t, "j")
		actors, check := race(w)
		r := systest.Race{FS: w.disk, Check: check}
		for _, actor := range actors {
			r.Actors = append(r.Actors, func(sched sys.FS) {
				actor(func(s *Spool) *Spool { return s.through(jobCalls{w.disk, sched}) })
			})
		}
		return r
	})
	if err != nil {
		t.Error(err)
	}
	if ran == limit && !testing.Short() {
		t.Error("there are more orders than were run")
	}
	t.Logf("%d orders", ran)
}

// outcomes counts how races ended, to show that the interesting orders were among them.
type outcomes map[string]int

func (o outcomes) want(t *testing.T, names ...string) {
	t.Helper()
	t.Logf("outcomes: %v", o)
	for _, name := range names {
		if o[name] == 0 && !testing.Short() {
			t.Errorf("no order ends with: %s", name)
		}
	}
}

type through = func(*Spool) *Spool

// One job is held by a dead worker; it is given back, and two try to claim it. G25, G33
func TestTwoClaimersAndAReclaimerInEveryOrder(t *testing.T) {
	t.Parallel()
	seen := outcomes{}
	interleave(t, func(w *world) ([]func(through), func() error) {
		dead := w.open(t, Config{})
		claim(t, dead)
		var won [2]*Claim
		var errs [3]error
		claimer := func(i int) func(through) {
			s := w.open(t, Config{})
			return func(by through) { won[i], errs[i] = by(s).TryClaim() }
		}
		reclaimer := w.open(t, Config{}, dead)
		return []func(through){claimer(0), claimer(1), func(by through) { _, errs[2] = by(reclaimer).Reclaim() }}, func() error {
			seen[fmt.Sprint(won[0] != nil, won[1] != nil)]++
			for i, err := range errs {
				if err != nil && (err != ErrEmpty || i == 2) || i < 2 && (won[i] == nil) != (err == ErrEmpty) {
					return fmt.Errorf("actor %d: %v", i, err)
				}
			}
			if won[0] != nil && won[1] != nil {
				return errors.New("both have it")
			}
			for _, c := range won {
				if c != nil && c.Attempt() != 2 {
					return fmt.Errorf("attempt %d, want 2", c.Attempt())
				}
			}
			return once(w.disk, "j")
		}
	})
	seen.want(t, "true false", "false true", "false false")
}

// The holder of the job is taken for dead though it is not, and goes on to finish
// it, while one gives the job back and another claims it. G34
func TestZombieReclaimerAndClaimerInEveryOrder(t *testing.T) {
	t.Parallel()
	seen := outcomes{}
	interleave(t, func(w *world) ([]func(through), func() error) {
		zombie := w.open(t, Config{})
		held := claim(t, zombie)
		claimer, reclaimer := w.open(t, Config{}), w.open(t, Config{}, zombie)
		var zombieErr, claimErr error
		var got *Claim
		return []func(through){
				func(by through) { by(zombie); zombieErr = held.Done() },
				func(by through) { by(reclaimer).Reclaim() },
				func(by through) { got, claimErr = by(claimer).TryClaim() },
			}, func() error {
				places, err := where(w.disk)
				if err != nil || len(places["j"]) != 1 {
					return fmt.Errorf("places %v: %v", places, err)
				}
				seen[fmt.Sprint(places["j"][0], ", zombie ", zombieErr == nil, ", claimer ", got != nil)]++
				if (zombieErr == nil) == errors.Is(zombieErr, ErrClaimLost) || claimErr != nil && claimErr != ErrEmpty {
					return fmt.Errorf("zombie: %v; claimer: %v", zombieErr, claimErr)
				}
				if zombieErr == nil && got != nil {
					return errors.New("both had it")
				}
				return nil
			}
	})
	seen.want(t, "done, zombie true, claimer false", "new, zombie false, claimer false", "claimed, zombie false, claimer true")
}

// One gives the job back and takes it again, against another who wants it.
func TestReleaserAndClaimerInEveryOrder(t *testing.T) {
	t.Parallel()
	seen := outcomes{}
	interleave(t, func(w *world) ([]func(through), func() error) {
		unfit, fit := w.open(t, Config{}), w.open(t, Config{})
		held := claim(t, unfit)
		var again, got *Claim
		return []func(through){
				func(by through) {
					by(unfit)
					if err := held.Release(); err != nil {
						t.Error(err)
					}
					again, _ = unfit.TryClaim()
				},
				func(by through) { got, _ = by(fit).TryClaim() },
			}, func() error {
				seen[fmt.Sprint(again != nil, got != nil)]++
				if again != nil && got != nil {
					return errors.New("both have it")
				}
				return once(w.disk, "j")
			}
	})
	seen.want(t, "true false", "false true")
}

// Two reclaim the last attempt of a dead worker: it fails once, with its reason.
func TestTwoReclaimersInEveryOrder(t *testing.T) {
	t.Parallel()
	interleave(t, func(w *world) ([]func(through), func() error) {
		dead := w.open(t, Config{})
		claim(t, dead)
		var total int
		reclaimer := func() func(through) {
			s := w.open(t, Config{MaxAttempts: 1}, dead)
			return func(by through) {
				n, err := by(s).Reclaim()
				if err != nil {
					t.Error(err)
				}
				total += n
			}
		}
		return []func(through){reclaimer(), reclaimer()}, func() error {
			places, err := where(w.disk)
			if err != nil || total != 1 || len(places["j"]) != 1 || places["j"][0] != failedPart {
				return fmt.Errorf("%d reclaimed, at %q, %v; want one, in failed", total, places, err)
			}
			if n := reasons(w.disk); n != 1 {
				return fmt.Errorf("%d reasons beside one failed job", n)
			}
			return nil
		}
	})
}

func reasons(d *systest.Disk) (n int) {
	for base := range d.Files() {
		if strings.HasSuffix(base, reasonSuffix) {
			n++
		}
	}
	return n
}
