// SPDX-License-Identifier: MIT

package opencache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faulty returns a Cache whose system calls a test can change before it is used.
func faulty(t *testing.T, dir string, cfg Config, change func(*system)) *Cache {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	sys := systemOf(root)
	change(&sys)
	c := newCache(root, cfg, sys)
	t.Cleanup(func() { c.Close() })
	return c
}

// slowOpen makes each open take d of a bubble's time.
func slowOpen(d time.Duration) func(*system) {
	return func(sys *system) {
		open := sys.open
		sys.open = func(name string) (*os.File, error) {
			time.Sleep(d)
			return open(name)
		}
	}
}

func TestOpensAtTheSameTimeShareOne(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	synctest.Test(t, func(t *testing.T) {
		c := faulty(t, dir, Config{}, slowOpen(time.Second))
		start := time.Now()
		for range 10 {
			go wantContent(t, c, "a", "text")
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := c.Stats(); s.Misses != 1 || s.Shared != 9 {
			t.Errorf("%+v, want 1 miss that 9 shared", s)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v, want the time of one open", d)
		}
	})
	wantOpen(t, dir, 0)
}

func TestOpensOfOtherNamesDoNotWait(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"slow": "1", "fast": "2"})
	synctest.Test(t, func(t *testing.T) {
		c := faulty(t, dir, Config{}, func(sys *system) {
			open := sys.open
			sys.open = func(name string) (*os.File, error) {
				if name == "slow" {
					time.Sleep(time.Hour)
				}
				return open(name)
			}
		})
		go wantContent(t, c, "slow", "1")
		synctest.Wait()
		start := time.Now()
		wantContent(t, c, "fast", "2")
		if d := time.Since(start); d != 0 {
			t.Errorf("another name waited %v", d)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
	})
}

// G34: who gives up waiting, first or last, leaves no reference behind.
func TestCancelledCallersLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ first, others time.Duration }{
		"the first caller":   {time.Second / 2, 0},
		"a waiter":           {0, time.Second / 2},
		"everybody":          {time.Second / 2, time.Second / 2},
		"just as it arrives": {time.Second, time.Second},
		"too late":           {2 * time.Second, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t, map[string]string{"a": "text"})
			synctest.Test(t, func(t *testing.T) {
				c := faulty(t, dir, Config{}, slowOpen(time.Second))
				caller := func(timeout time.Duration) {
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if timeout > 0 {
						ctx, cancel = context.WithTimeout(ctx, timeout)
					}
					defer cancel()
					start := time.Now()
					f, err := c.OpenContext(ctx, "a")
					if err != nil {
						if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != timeout {
							t.Errorf("OpenContext = %v after %v of %v", err, time.Since(start), timeout)
						}
						return
					}
					defer f.Close()
					if b, err := io.ReadAll(f); err != nil || string(b) != "text" {
						t.Errorf("read %q, %v", b, err)
					}
				}
				go caller(tc.first)
				synctest.Wait()
				go caller(tc.others)
				go caller(tc.others)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				wantContent(t, c, "a", "text")
				if s := c.Stats(); s.Misses != 1 || s.Kept != 1 {
					t.Errorf("%+v: the open went on for the next caller, or should have", s)
				}
				wantOpen(t, dir, 1)
				c.Close()
				wantOpen(t, dir, 0)
			})
		})
	}
}

// G34: each call that can fail does, and the descriptor does not stay.
func TestFailuresLeakNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	for name, fault := range map[string]func(*system){
		"open": func(sys *system) {
			sys.open = func(string) (*os.File, error) { return nil, syscall.EIO }
		},
		"fstat": func(sys *system) { // a file that was closed behind our back
			sys.open = func(name string) (*os.File, error) {
				f, err := os.Open(filepath.Join(dir, name))
				if err == nil {
					f.Close()
				}
				return f, err
			}
		},
	} {
		c := faulty(t, dir, Config{}, fault)
		for range 3 {
			if _, err := c.Open("a"); err == nil {
				t.Errorf("%s fails: Open succeeds", name)
			}
		}
		if s := c.Stats(); s.Kept != 0 || s.Misses != 3 {
			t.Errorf("%s fails: %+v", name, s)
		}
	}
	wantOpen(t, dir, 0)
}

// A look after Valid that fails is an open that decides.
func TestFailedLookOpensAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	c := faulty(t, dir, Config{Valid: -1}, func(sys *system) {
		sys.stat = func(string) (fs.FileInfo, error) { return nil, syscall.EIO }
	})
	wantContent(t, c, "a", "text")
	wantContent(t, c, "a", "text")
	if s := c.Stats(); s.Misses != 2 || s.Replaced != 1 || s.Kept != 1 {
		t.Errorf("%+v", s)
	}
	wantOpen(t, dir, 1)
}

func TestEvictedWhileBeingLookedAt(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "a", "b": "b"})
	var c *Cache
	c = faulty(t, dir, Config{Valid: -1, Max: 1}, func(sys *system) {
		stat := sys.stat
		sys.stat = func(name string) (fs.FileInfo, error) {
			wantContent(t, c, "b", "b") // evicts a
			return stat(name)
		}
	})
	wantContent(t, c, "a", "a")
	wantContent(t, c, "a", "a")
	c.Close()
	wantOpen(t, dir, 0)
}

func TestClosedWhileOpening(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	var c *Cache
	c = faulty(t, dir, Config{}, func(sys *system) {
		open := sys.open
		sys.open = func(name string) (*os.File, error) {
			f, err := open(name)
			c.Close()
			return f, err
		}
	})
	wantContent(t, c, "a", "text")
	if s := c.Stats(); s.Kept != 0 || c.timer != nil {
		t.Errorf("%+v: a closed cache keeps a file, or a timer", s)
	}
	wantOpen(t, dir, 0)
}

func TestClosedWhileOpeningADirectory(t *testing.T) {
	t.Parallel()
	var c *Cache
	c = faulty(t, t.TempDir(), Config{}, func(sys *system) {
		open := sys.open
		sys.open = func(name string) (*os.File, error) {
			f, err := open(name)
			c.Close()
			return f, err
		}
	})
	mustOpen(t, c, ".").Close()
	if len(c.entries) != 0 || c.timer != nil {
		t.Errorf("a closed cache knows %d names", len(c.entries))
	}
}

// Where what is open is not known, a Linux before 6.2 say, Reserve is none, and running
// out is survived all the same (see TestNoDescriptorLeft).
func TestReserveWithoutACount(t *testing.T) {
	t.Parallel()
	c := faulty(t, newDir(t, map[string]string{"a": "a", "b": "b"}), Config{Reserve: 30}, func(sys *system) {
		sys.descriptors = func() (int, int, bool) { return 0, 0, false }
	})
	for range 2 {
		wantContent(t, c, "a", "a")
		wantContent(t, c, "b", "b")
	}
	if s := c.Stats(); s.Kept != 2 || s.Misses != 2 {
		t.Errorf("%+v, want both kept", s)
	}
}

// G35: what cannot be shared is given to each caller separately, and never kept.
func TestDirectoriesAreNotShared(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"d/1": "", "d/2": ""})
	synctest.Test(t, func(t *testing.T) {
		c := faulty(t, dir, Config{}, slowOpen(time.Second))
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				f, err := c.Open("d")
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				if list, err := f.Readdir(-1); err != nil || len(list) != 2 {
					t.Errorf("%d entries, %v", len(list), err)
				}
			})
		}
		wg.Wait()
		if s := c.Stats(); s.Kept != 0 {
			t.Errorf("%+v: a directory is kept", s)
		}
	})
	wantOpen(t, dir, 0)
}

// Every order in which two callers, one of whom gives up, and an eviction can meet a
// flight ends with no reference too many or too few.
func TestFlightOrders(t *testing.T) {
	t.Parallel()
	// l: the flight lands; g: a caller gives up; x, y: two callers take their handle.
	for _, order := range permutations("lgxy") {
		dir := newDir(t, map[string]string{"a": "text"})
		c := open(t, dir, Config{})
		c.mu.Lock()
		fl, _ := c.board("a")
		c.board("a")
		c.board("a")
		c.mu.Unlock()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		var wg sync.WaitGroup
		take := func(ctx context.Context) {
			f, err := c.await(ctx, fl)
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("%s: %v", order, err)
				}
				return
			}
			if b, err := io.ReadAll(f); err != nil || string(b) != "text" {
				t.Errorf("%s: %q, %v", order, b, err)
			}
			f.Close()
		}
		landed := false
		for _, step := range order {
			switch step {
			case 'l':
				c.fly(fl)
				landed = true
			case 'g':
				take(gone)
			default:
				if landed {
					take(t.Context())
				} else {
					wg.Go(func() { take(t.Context()) }) // waits
				}
			}
		}
		wg.Wait()
		wantOpen(t, dir, 1)
		c.Close()
		wantOpen(t, dir, 0)
	}
}

func permutations(s string) []string {
	if len(s) <= 1 {
		return []string{s}
	}
	var all []string
	for i := range s {
		for _, rest := range permutations(s[:i] + s[i+1:]) {
			all = append(all, s[i:i+1]+rest)
		}
	}
	return all
}
