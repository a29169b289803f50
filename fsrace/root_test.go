// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestMkdirAllIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inside := filepath.Join(dir, "root")
	os.Mkdir(inside, 0o755)
	os.Mkdir(filepath.Join(dir, "outside"), 0o755)
	os.Mkdir(filepath.Join(inside, "real"), 0o755)
	if err := os.Symlink("real", filepath.Join(inside, "in")); err != nil {
		t.Skip(err)
	}
	os.Symlink("../outside", filepath.Join(inside, "out"))
	os.Symlink(filepath.Join(dir, "outside"), filepath.Join(inside, "abs"))
	os.WriteFile(filepath.Join(inside, "file"), nil, 0o644)
	root := openRoot(t, inside)
	for name, ok := range map[string]bool{
		".": true, "a": true, "b/c/d/e/f/g/h": true, "in/x/y": true, "in": true, "b/../z": true,
		"../outside/x": false, "out": false, "out/x": false, "out/x/y": false, "abs/x/y": false,
		"/etc/x": false, "file": false, "file/x": false, "b/../../outside/x": false, "": false,
	} {
		err := MkdirAllIn(root, name, 0o755)
		if (err == nil) != ok {
			t.Errorf("MkdirAllIn(%q) = %v", name, err)
		}
		if pe, _ := errors.AsType[*fs.PathError](err); err != nil && pe == nil {
			t.Errorf("MkdirAllIn(%q) = %T", name, err)
		}
	}
	for name, want := range map[string]int{dir: 2, filepath.Join(dir, "outside"): 0} {
		if got := list(t, name); len(got) != want {
			t.Errorf("in %s there is %q", name, got)
		}
	}
}

// TestNothingIsMadeOutside swaps a directory for links that lead out, while
// directories are made below it.
func TestNothingIsMadeOutside(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		inside, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
		os.Mkdir(inside, 0o755)
		os.Mkdir(outside, 0o755)
		root := openRoot(t, inside)
		var (
			stop        atomic.Bool
			made, stray atomic.Int64
			swapping    sync.WaitGroup
			making      sync.WaitGroup
		)
		victim := filepath.Join(inside, "a")
		for _, target := range []string{"../outside", outside} {
			swapping.Go(func() {
				link := filepath.Join(inside, "link-"+filepath.Base(target)+fmt.Sprint(len(target)))
				for !stop.Load() {
					os.RemoveAll(victim)
					os.Symlink(target, link)
					os.Rename(link, victim)
					os.Remove(victim)
				}
			})
		}
		for i := range 2 {
			making.Go(func() {
				for !stop.Load() {
					// "A link leads out" is a right answer here; ENOENT is not.
					switch err := MkdirAllIn(root, fmt.Sprintf("a/b%d/c", i), 0o755); {
					case err == nil:
						made.Add(1)
					case errors.Is(err, syscall.ENOENT):
						t.Error(err)
						return
					default:
						stray.Add(1)
					}
				}
			})
		}
		// The length of the experiment, and longer if it has shown nothing yet.
		for start := time.Now(); time.Since(start) < 500*time.Millisecond ||
			time.Since(start) < 20*time.Second && (made.Load() == 0 || stray.Load() == 0); {
			time.Sleep(10 * time.Millisecond)
		}
		stop.Store(true)
		making.Wait()
		swapping.Wait()
		t.Logf("made %d, refused %d", made.Load(), stray.Load())
		if got := list(t, outside); len(got) != 0 {
			t.Errorf("outside there is %q", got)
		}
		if made.Load() == 0 || stray.Load() == 0 {
			t.Error("the swappers did not do their work")
		}
	})
}

func TestMkdirAllInAgainstPruners(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		root := openRoot(t, dir)
		_, _, failed := stress(t, dir, 0, func(path string, perm fs.FileMode) error {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			return MkdirAllIn(root, rel, perm)
		})
		for _, err := range failed[:min(3, len(failed))] {
			t.Errorf("%d failures, such as %v", len(failed), err)
		}
	})
}
