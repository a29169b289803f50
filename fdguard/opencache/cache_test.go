// SPDX-License-Identifier: MIT

package opencache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOpensOnceAndGivesEachCallerItsOwnOffset(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 1000)
	c := open(t, newDir(t, map[string]string{"a": text}), Config{Valid: time.Hour})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if got, err := content(c, "a"); err != nil || got != text {
					t.Errorf("got %d bytes, %v; want %d", len(got), err, len(text))
				}
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Misses != 1 || s.Kept != 1 || s.Hits+s.Shared != 159 {
		t.Errorf("160 Opens of one file: %+v", s)
	}
}

func TestNamesOfOneFileAreOne(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"d/a": "text"}), Config{})
	for _, name := range []string{"d/a", "/d/a", "./d//a", "/../d/a", "x/../d/a", "d/a/"} {
		wantContent(t, c, name, "text")
	}
	if s := c.Stats(); s.Misses != 1 {
		t.Errorf("opened %d times", s.Misses)
	}
}

// G31
func TestReplacedFileIsNewAfterValid(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "old"})
	path := filepath.Join(dir, "a")
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{Valid: 10 * time.Second})
		held := mustOpen(t, c, "a")
		defer held.Close()
		replace(t, path, "new and longer")
		time.Sleep(10*time.Second - time.Nanosecond)
		wantContent(t, c, "a", "old")
		time.Sleep(time.Nanosecond)
		wantContent(t, c, "a", "new and longer")
		if got, err := io.ReadAll(held); err != nil || string(got) != "old" {
			t.Errorf("handle from before = %q, %v; want the old file, whole", got, err)
		}
		if s := c.Stats(); s.Replaced != 1 || s.Kept != 1 {
			t.Errorf("%+v, want one replaced, one kept", s)
		}
	})
}

// G31
func TestRemovedFileIsGoneAfterValidAndReleasedAfterInactive(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"asked": "1", "idle": "2"})
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{Valid: time.Second, Inactive: time.Minute})
		wantContent(t, c, "asked", "1")
		wantContent(t, c, "idle", "2")
		os.Remove(filepath.Join(dir, "asked"))
		os.Remove(filepath.Join(dir, "idle"))
		time.Sleep(time.Second)
		if _, err := c.Open("asked"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open of a removed file = %v, want ErrNotExist", err)
		}
		if s := c.Stats(); s.Kept != 1 {
			t.Errorf("%d files kept, want the one nobody asked for since", s.Kept)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := c.Stats(); s.Kept != 0 || s.Evicted != 1 {
			t.Errorf("%+v: an unlinked file is pinned after Inactive", s)
		}
	})
}

func TestUnchangedFileIsNotOpenedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{Valid: time.Second})
		for range 5 {
			wantContent(t, c, "a", "text")
			time.Sleep(time.Second)
		}
		if s := c.Stats(); s.Misses != 1 || s.Revalidated != 4 {
			t.Errorf("%+v, want 1 miss and 4 revalidations", s)
		}
	})
}

func TestNegativeValidLooksEachTime(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "0"})
	c := open(t, dir, Config{Valid: -1})
	for i := range 5 {
		replace(t, filepath.Join(dir, "a"), fmt.Sprint(i))
		wantContent(t, c, "a", fmt.Sprint(i))
	}
}

func TestPermissionsAreLookedAtAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	c := open(t, dir, Config{Valid: -1})
	wantContent(t, c, "a", "text")
	if err := os.Chmod(filepath.Join(dir, "a"), 0); err != nil {
		t.Fatal(err)
	}
	_, direct := os.ReadFile(filepath.Join(dir, "a"))
	_, err := content(c, "a")
	if errors.Is(direct, fs.ErrPermission) != errors.Is(err, fs.ErrPermission) {
		t.Errorf("after chmod 0: cache %v, os %v", err, direct)
	}
	if s := c.Stats(); s.Revalidated != 0 {
		t.Errorf("%+v: a file with another mode counts as unchanged", s)
	}
}

func TestInactiveIsSinceTheLastUse(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"used": "1", "unused": "2"})
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{Inactive: 10 * time.Second})
		wantContent(t, c, "unused", "2")
		for range 3 {
			wantContent(t, c, "used", "1")
			time.Sleep(4 * time.Second)
		}
		synctest.Wait()
		if s := c.Stats(); s.Kept != 1 || s.Evicted != 1 {
			t.Errorf("after 12 s: %+v, want only the used file kept", s)
		}
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if s := c.Stats(); s.Kept != 0 {
			t.Errorf("after 19 s: %+v, want none kept", s)
		}
		if c.timer != nil {
			t.Error("a timer runs, though nothing is kept")
		}
	})
}

func TestLeastRecentlyUsedIsEvicted(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"a": "a", "b": "b", "c": "c"}), Config{Max: 2, Valid: time.Hour})
	for _, name := range []string{"a", "b", "a", "c", "a", "b"} { // evicts b, then c
		wantContent(t, c, name, name)
	}
	if s := c.Stats(); s.Kept != 2 || s.Evicted != 2 || s.Hits != 2 || s.Misses != 4 {
		t.Errorf("%+v", s)
	}
}

func TestMinUses(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{MinUses: 3, Inactive: time.Minute, Valid: time.Hour})
		want := func(kept int, when string) {
			t.Helper()
			if got := c.Stats().Kept; got != kept {
				t.Errorf("%s: %d kept, want %d", when, got, kept)
			}
		}
		wantContent(t, c, "a", "text")
		wantContent(t, c, "a", "text")
		want(0, "used twice")
		time.Sleep(time.Minute)
		wantContent(t, c, "a", "text")
		want(0, "used a third time, but a minute later")
		wantContent(t, c, "a", "text")
		wantContent(t, c, "a", "text")
		want(1, "used three times")
	})
}

// A scan of names that are used once must not push out what is used often.
func TestMinUsesKeepsCountersApart(t *testing.T) {
	t.Parallel()
	files := map[string]string{"hot": "text"}
	for i := range 20 {
		files[fmt.Sprint("scan", i)] = "x"
	}
	c := open(t, newDir(t, files), Config{MinUses: 2, Max: 3})
	wantContent(t, c, "hot", "text")
	wantContent(t, c, "hot", "text")
	for i := range 20 {
		wantContent(t, c, fmt.Sprint("scan", i), "x")
	}
	if s := c.Stats(); s.Kept != 1 || len(c.entries) != 4 {
		t.Errorf("%d kept, %d names; want the hot one, and Max counters", s.Kept, len(c.entries))
	}
}

// G32
func TestMaxIsNotWhatIsOpen(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 10 {
		files[fmt.Sprint(i)] = fmt.Sprint("file ", i)
	}
	dir := newDir(t, files)
	c := open(t, dir, Config{Max: 4})
	var held []io.ReadCloser
	for name := range files {
		held = append(held, mustOpen(t, c, name))
	}
	wantOpen(t, dir, 10)
	if s := c.Stats(); s.Kept != 4 || s.Evicted != 6 {
		t.Errorf("%+v, want 4 kept", s)
	}
	for _, f := range held {
		if b, err := io.ReadAll(f); err != nil || !strings.HasPrefix(string(b), "file ") {
			t.Errorf("a held file after eviction: %q, %v", b, err)
		}
		f.Close()
		f.Close()
	}
	wantOpen(t, dir, 4)
	c.Close()
	wantOpen(t, dir, 0)
}

// G33
func TestEvictAndReopenWhileTheOldOneIsHeld(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "old", "b": "b"})
	c := open(t, dir, Config{Max: 1, Valid: time.Hour})
	old := mustOpen(t, c, "a")
	wantContent(t, c, "b", "b") // evicts a
	replace(t, filepath.Join(dir, "a"), "new")
	fresh := mustOpen(t, c, "a")
	old.Close()
	if b, err := io.ReadAll(fresh); err != nil || string(b) != "new" {
		t.Errorf("the new file after Close of the old: %q, %v", b, err)
	}
	fresh.Close()
	wantContent(t, c, "a", "new")
	wantOpen(t, dir, 1)
}

func TestClose(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"a": "text"}), Config{})
	held := mustOpen(t, c, "a")
	defer held.Close()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if b, err := io.ReadAll(held); err != nil || string(b) != "text" {
		t.Errorf("held handle after Close: %q, %v", b, err)
	}
	_, err := c.Open("a")
	pathErr, ok := errors.AsType[*fs.PathError](err)
	if !errors.Is(err, fs.ErrClosed) || !ok || pathErr.Path != "a" {
		t.Errorf("Open after Close = %#v, want a PathError that wraps ErrClosed", err)
	}
}

func TestNewRefusesBadConfigs(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]Config{"Max": {Max: -1}, "Inactive": {Inactive: -1}, "MinUses": {MinUses: -1}} {
		if _, err := New(t.TempDir(), cfg); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("negative %s: %v", field, err)
		}
	}
	if _, err := New(filepath.Join(t.TempDir(), "none"), Config{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("root that is not there: %v", err)
	}
}

func TestErrorsAreNotRemembered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := open(t, dir, Config{})
	if _, err := c.Open("late"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Open = %v", err)
	}
	write(t, filepath.Join(dir, "late"), "here")
	wantContent(t, c, "late", "here")
}

func TestExclude(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"a": "a", "d/x.db": "secret"}), Config{
		Exclude: func(name string) bool { return strings.HasSuffix(name, ".db") },
	})
	wantContent(t, c, "a", "a")
	for _, name := range []string{"d/x.db", "/d/../d/x.db/"} {
		if _, err := c.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q) = %v, want ErrNotExist", name, err)
		}
	}
}

func TestCancelledBeforeOpen(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"a": "a"}), Config{})
	cause := errors.New("the cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := c.OpenContext(ctx, "a"); !errors.Is(err, cause) {
		t.Errorf("OpenContext = %v, want the cause", err)
	}
}
