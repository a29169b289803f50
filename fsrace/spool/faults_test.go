// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// An act is something done to a job, by a worker that may fail or die at any call.
type act struct {
	claimed bool // a claim is held before
	do      func(s, dead *Spool, c *Claim) error
	goal    string // where the job is if it succeeded
}

var acts = map[string]act{
	"put":     {false, func(s, _ *Spool, _ *Claim) error { return s.Put("k", strings.NewReader("content of k")) }, newPart},
	"claim":   {false, func(s, _ *Spool, _ *Claim) error { _, err := s.TryClaim(); return err }, claimedPart},
	"done":    {true, func(_, _ *Spool, c *Claim) error { return c.Done() }, donePart},
	"release": {true, func(_, _ *Spool, c *Claim) error { return c.Release() }, newPart},
	"retry":   {true, func(_, _ *Spool, c *Claim) error { return c.Retry("why") }, newPart},
	"fail":    {true, func(_, _ *Spool, c *Claim) error { return c.Fail("why") }, failedPart},
	"reclaim": {false, func(s, dead *Spool, _ *Claim) error { s.bury(dead); _, err := s.Reclaim(); return err }, newPart},
	"evict":   {false, func(s, dead *Spool, _ *Claim) error { _, err := s.Evict(dead.owner.Nonce); return err }, newPart},
}

// stage sets up the world in which an act happens to job j, or, by put, k.
func stage(t testing.TB, name string, act act) (w *world, s, dead *Spool, c *Claim) {
	w = newWorld(t, "j")
	dead = w.open(t, Config{})
	if name == "reclaim" || name == "evict" {
		claim(t, dead)
	}
	s = w.open(t, Config{Durable: true})
	if act.claimed {
		c = claim(t, s)
	}
	return w, s, dead, c
}

// jobsAfter is which jobs there must be: k only if it was put, or may be.
func jobsAfter(disk *systest.Disk, name string, err error) ([]string, error) {
	places, werr := where(disk)
	if werr != nil {
		return nil, werr
	}
	jobs := []string{"j"}
	switch n := len(places["k"]); {
	case name != "put":
	case err == nil && n != 1:
		return nil, fmt.Errorf("k was put, and is in %q", places["k"])
	case n == 1:
		jobs = append(jobs, "k")
	}
	return jobs, nil
}

// TestEachErrnoAtEachCall: whatever a call reports, executed or not, the job is in
// one place; a method that returned nil did what it says; one that returned an error
// can be called again, and is then believed. G28
func TestEachErrnoAtEachCall(t *testing.T) {
	t.Parallel()
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, errno := range []error{
				syscall.EIO, syscall.ENOENT, syscall.EEXIST, syscall.ENOSPC, syscall.EACCES, syscall.ESTALE,
				syscall.EROFS, syscall.EDQUOT, syscall.EMFILE, syscall.EPERM, syscall.EINVAL, syscall.ENAMETOOLONG,
			} {
				for _, executed := range []bool{false, true} {
					calls, err := systest.EachCall(func(n int) (bool, error) {
						w, s, dead, c := stage(t, name, act)
						faulty, hit := systest.Inject(w.disk, n, systest.Fault{Err: errno, Executed: executed})
						err := act.do(s.through(faulty), dead, c)
						call, ok := hit()
						what := fmt.Errorf("%v at %v, executed %t: %s gave %v", errno, call, executed, name, err)
						jobs, jerr := jobsAfter(w.disk, name, err)
						if jerr != nil {
							return ok, fmt.Errorf("%w: %w", what, jerr)
						}
						if err := once(w.disk, jobs...); err != nil {
							return ok, fmt.Errorf("%w: %w", what, err)
						}
						job := "j"
						if name == "put" {
							job = "k"
							if places, _ := where(w.disk); err != nil && places["k"] != nil {
								return ok, fmt.Errorf("%w: and yet the job is in %q", what, places["k"])
							}
						}
						s.through(w.disk)
						if litter, _ := s.list(tmpPart); len(litter) > 0 {
							return ok, fmt.Errorf("%w: %q was left in tmp", what, litter)
						}
						if err != nil && name != "put" {
							if errors.Is(err, ErrClaimLost) {
								return ok, fmt.Errorf("%w: nobody took it", what)
							}
							// A claim that went unnoticed is given back by our own Reclaim.
							if name == "claim" {
								s.bury()
								if _, err := s.Reclaim(); err != nil {
									return ok, err
								}
							}
							if err := act.do(s, dead, c); err != nil {
								return ok, fmt.Errorf("%w: again: %w", what, err)
							}
						}
						if name == "put" && err != nil {
							return ok, nil
						}
						// Reclaim judges by what it can see, and sees it the next time.
						if name == "reclaim" {
							s.Reclaim()
						}
						places, err := where(w.disk)
						if err != nil || len(places[job]) != 1 || places[job][0] != act.goal {
							return ok, fmt.Errorf("%w: the job is in %q, want %s (%v)", what, places[job], act.goal, err)
						}
						return ok, nil
					})
					if err != nil {
						t.Errorf("of %d calls: %v", calls, err)
					}
				}
			}
		})
	}
}

// TestDeathAtEachCall: the process dies before or after each call, and the machine
// lives on. Reclaim then clears up, and every job can be done.
func TestDeathAtEachCall(t *testing.T) {
	t.Parallel()
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, executed := range []bool{false, true} {
				_, err := systest.EachCall(func(n int) (bool, error) {
					w, s, dead, c := stage(t, name, act)
					faulty, hit := systest.Inject(w.disk, n, systest.Fault{Kill: true, Executed: executed})
					s.through(faulty)
					var err error
					ended := systest.Killable(func() { err = act.do(s, dead, c) })
					call, ok := hit()
					if !ended {
						err = errors.New("died")
					}
					jobs, jerr := jobsAfter(w.disk, name, err)
					if jerr == nil {
						jerr = once(w.disk, jobs...)
					}
					if jerr != nil {
						return ok, fmt.Errorf("death at %v, executed %t: %w", call, executed, jerr)
					}
					if err := clearUp(t, w, []*Spool{s, dead}, jobs); err != nil {
						return ok, fmt.Errorf("death at %v, executed %t: %w", call, executed, err)
					}
					return ok, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// clearUp is a new instance that takes over from the dead and does what is left.
func clearUp(t testing.TB, w *world, gone []*Spool, jobs []string) error {
	s := w.open(t, Config{}, gone...)
	if _, err := s.Reclaim(); err != nil {
		return err
	}
	for {
		c, err := s.TryClaim()
		if err == ErrEmpty {
			break
		}
		if err != nil {
			return err
		}
		if err := c.Done(); err != nil {
			return err
		}
	}
	places, err := where(w.disk)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if len(places[job]) != 1 || places[job][0] != donePart && places[job][0] != failedPart {
			return fmt.Errorf("job %s ends in %q", job, places[job])
		}
	}
	litter, err := w.disk.ReadDir(worldDir + "/" + tmpPart)
	if err != nil || len(litter) > 0 {
		return fmt.Errorf("litter %q, %v", litter, err)
	}
	owners, err := s.Workers()
	if err != nil || len(owners) != 1 {
		return fmt.Errorf("workers %v, %v; want only the living", owners, err)
	}
	return nil
}

// TestPowerFailureAtEachCall: after a crash at any call, whatever had reached the
// disk, each job is whole, in one place, and where a call that returned nil put it.
func TestPowerFailureAtEachCall(t *testing.T) {
	t.Parallel()
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := systest.EachCall(func(n int) (bool, error) {
				w, s, dead, c := stage(t, name, act)
				// What was done before this act is on the disk; Claim itself is not.
				for _, part := range parts {
					must(t, w.disk.SyncDir(worldDir+"/"+part))
				}
				faulty, hit := systest.Inject(w.disk, n, systest.Fault{Kill: true, Executed: true})
				s.through(faulty)
				err := errors.New("died")
				systest.Killable(func() { err = act.do(s, dead, c) })
				call, ok := hit()
				durable := err == nil && name != "claim" && name != "reclaim" && name != "evict"
				return ok, w.disk.EachCrash(func(after *systest.Disk) error {
					jobs, jerr := jobsAfter(after, name, err)
					if jerr == nil {
						jerr = once(after, jobs...)
					}
					if jerr != nil {
						return fmt.Errorf("power failure at %v: %w", call, jerr)
					}
					places, _ := where(after)
					if job := jobs[len(jobs)-1]; durable && places[job][0] != act.goal {
						return fmt.Errorf("power failure after %s: the job is in %q, want %s", name, places[job], act.goal)
					}
					for base, reason := range after.Files() {
						if strings.HasSuffix(base, reasonSuffix) && reason != "why" {
							return fmt.Errorf("power failure at %v: the reason is %q", call, reason)
						}
					}
					if places["j"][0] == failedPart && reasons(after) == 0 {
						return fmt.Errorf("power failure at %v: failed without a reason", call)
					}
					return clearUp(t, &world{after}, []*Spool{s, dead}, jobs)
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPowerFailureWhileOpening: a spool that was being made is finished by the next Open.
func TestPowerFailureWhileOpening(t *testing.T) {
	t.Parallel()
	_, err := systest.EachCall(func(n int) (bool, error) {
		disk := systest.NewDisk()
		must(t, disk.Mkdir(worldDir, 0o755))
		must(t, disk.SyncDir("/"))
		faulty, hit := systest.Inject(disk, n, systest.Fault{Kill: true, Executed: true})
		systest.Killable(func() { open(worldDir, Config{}, faulty) })
		call, ok := hit()
		return ok, disk.EachCrash(func(after *systest.Disk) error {
			s, err := open(worldDir, Config{}, after)
			if err != nil {
				return fmt.Errorf("after a power failure at %v: %w", call, err)
			}
			return s.Close()
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// TestEachErrnoWhileOpening: an Open that failed leaves nothing that keeps the next
// from succeeding, and one that succeeded works.
func TestEachErrnoWhileOpening(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{syscall.EIO, syscall.ENOENT, syscall.EEXIST, syscall.ENOSPC, syscall.EROFS, syscall.EXDEV, syscall.ESTALE} {
		for _, executed := range []bool{false, true} {
			_, err := systest.EachCall(func(n int) (bool, error) {
				disk := systest.NewDisk()
				must(t, disk.Mkdir(worldDir, 0o755))
				faulty, hit := systest.Inject(disk, n, systest.Fault{Err: errno, Executed: executed})
				s, err := open(worldDir, Config{}, faulty)
				call, ok := hit()
				if err != nil && !errors.Is(err, errno) && errno != syscall.EEXIST { // what is then missing is seen later
					return ok, fmt.Errorf("%v at %v: Open says %v", errno, call, err)
				}
				if err != nil {
					s = on(t, disk, worldDir, Config{})
				}
				put(t, s.through(disk), "j")
				if err := claim(t, s).Done(); err != nil {
					return ok, err
				}
				return ok, errors.Join(once(disk, "j"), s.Close())
			})
			if err != nil {
				t.Errorf("%v, executed %t: %v", errno, executed, err)
			}
		}
	}
}
