// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// touch makes an empty file through calls, as a callback of Create does.
func touch(calls sys.FS) func(name string) error {
	return func(name string) error {
		f, err := calls.Open(name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	}
}

// litter returns the files and directories of our own that were left on d.
func litter(d *systest.Disk) error {
	for name := range d.Files() {
		if strings.Contains(name, tempPrefix) {
			return fmt.Errorf("%s was left behind", name)
		}
	}
	names, _ := d.ReadDir("/")
	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) {
			return fmt.Errorf("/%s was left behind", name)
		}
	}
	return nil
}

// G19: what has nothing to do with the directory is returned as it is, after one call.
func TestCreateReturnsOtherErrorsUnchanged(t *testing.T) {
	t.Parallel()
	want := errors.New("mine")
	for _, err := range []error{want, syscall.EPERM, fs.ErrExist, syscall.ENOSPC} {
		calls := 0
		got := Create(filepath.Join(t.TempDir(), "a/f"), func(string) error { calls++; return err })
		if got != err || calls != 1 {
			t.Errorf("Create = %v after %d calls, want %v after 1", got, calls, err)
		}
	}
}

// G20: the callback's own source is missing.
func TestCreateWithMissingSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	calls := 0
	err := Create(filepath.Join(dir, "a/b/f"), func(name string) error {
		calls++
		return os.Rename(filepath.Join(dir, "missing"), name)
	})
	if !errors.Is(err, fs.ErrNotExist) || calls > 2 {
		t.Errorf("Create = %v after %d calls", err, calls)
	}
	if got := list(t, filepath.Join(dir, "a/b")); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

// A callback that panics leaves no file behind.
func TestCreatePanics(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := MkdirAll(filepath.Join(dir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	calls := 0
	func() {
		defer func() { recover() }()
		Create(filepath.Join(dir, "a/f"), func(name string) error {
			if calls++; calls == 1 {
				return fs.ErrNotExist
			}
			panic("fn")
		})
	}()
	if got := list(t, filepath.Join(dir, "a")); calls != 2 || len(got) != 0 {
		t.Errorf("after %d calls there is %q", calls, got)
	}
}

// G18: empty directories where the file is to be are removed, once; others are not.
func TestEmptyDirectoryInTheWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	os.MkdirAll(filepath.Join(name, "empty/too"), 0o755)
	f, err := OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	full := filepath.Join(dir, "full")
	os.MkdirAll(filepath.Join(full, "empty"), 0o755)
	os.WriteFile(filepath.Join(full, "file"), nil, 0o644)
	for _, name := range []string{full, dir + "/slash/"} {
		os.MkdirAll(name, 0o755)
		if f, err := OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644); !errors.Is(err, syscall.EISDIR) {
			f.Close()
			t.Errorf("OpenFile(%s) = %v", name, err)
		}
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	calls := 0
	err = Create(filepath.Join(dir, "fight"), func(name string) error {
		calls++
		os.Mkdir(name, 0o755)
		return syscall.EISDIR
	})
	if err != syscall.EISDIR || calls != 2 {
		t.Errorf("Create = %v after %d calls, want EISDIR after 2", err, calls)
	}
}

func TestOpenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "a/b/c/f")
	if _, err := OpenFile(name, os.O_RDWR, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without O_CREATE: %v", err)
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("without O_CREATE there is %q", got)
	}
	f, err := OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("text")
	if f.Name() != name || f.Close() != nil {
		t.Errorf("name %q", f.Name())
	}
	if _, err := OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second O_EXCL: %v", err)
	}
	if got := list(t, filepath.Dir(name)); len(got) != 1 {
		t.Errorf("there is %q", got)
	}
	if _, err := OpenFile(name+"/x", os.O_WRONLY|os.O_CREATE, 0o640); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	os.Symlink("gone/file", filepath.Join(dir, "dangling"))
	if _, err := OpenFile(filepath.Join(dir, "dangling"), os.O_WRONLY|os.O_CREATE, 0o640); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("through a link into a missing directory: %v", err)
	}
}

func TestRemoveEmptyParents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	join := func(name string) string { return filepath.Join(dir, name) }
	os.MkdirAll(join("a/b/c/d"), 0o755)
	os.WriteFile(join("a/keep"), nil, 0o644)
	if n, err := RemoveEmptyParents(join("a/b/c/d/f"), dir); n != 3 || err != nil {
		t.Errorf("removed %d, %v; want 3", n, err)
	}
	if got := list(t, dir); len(got) != 1 {
		t.Errorf("left: %q", got)
	}
	os.Remove(join("a/keep"))
	os.MkdirAll(join("a/x"), 0o755)
	os.Remove(join("a/x")) // G24: somebody else was faster
	if n, err := RemoveEmptyParents(join("a/x/y/f"), join("a/../")); n != 1 || err != nil {
		t.Errorf("removed %d, %v; want 1", n, err)
	}
	for _, name := range []string{dir, filepath.Dir(dir), join("../f"), "relative"} {
		if n, err := RemoveEmptyParents(name, dir); n != 0 || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("RemoveEmptyParents(%q, %q) = %d, %v", name, dir, n, err)
		}
	}
	os.MkdirAll(join("real/dir"), 0o755)
	if os.Symlink("real", join("link")) == nil {
		if n, err := RemoveEmptyParents(join("link/dir/f"), dir); n != 1 || err != nil {
			t.Errorf("through a link: removed %d, %v; want 1, and the link in its place", n, err)
		}
	}
}

func TestEachErrnoOfPrune(t *testing.T) {
	t.Parallel()
	for errno, stops := range map[error]bool{
		syscall.ENOTEMPTY: true, syscall.EEXIST: true, syscall.EBUSY: true, syscall.ENOENT: false, syscall.ESTALE: false,
	} {
		d := systest.NewDisk()
		mkdirAll(d, "/s/a/b", 0o755)
		faulty, _ := systest.Inject(d, 0, systest.Fault{Err: errno, Executed: !stops})
		n, err := prune(faulty, "/s/a/b/f", "/s")
		if err != nil || stops && n != 0 || !stops && n != 1 {
			t.Errorf("%v: removed %d, %v", errno, n, err)
		}
	}
	d := systest.NewDisk()
	mkdirAll(d, "/s/a/b", 0o755)
	faulty, _ := systest.Inject(d, 0, systest.Fault{Err: syscall.EACCES})
	if n, err := prune(faulty, "/s/a/b/f", "/s"); n != 0 || !errors.Is(err, syscall.EACCES) {
		t.Errorf("EACCES: removed %d, %v", n, err)
	}
}

// TestCreatorsAndPruners: G24. Each creator makes its files in a tree that it and the
// others prune all the time; each file must stay until its creator removes it.
func TestCreatorsAndPruners(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		const creators = 4
		var (
			wg               sync.WaitGroup
			files, most, fns atomic.Int64
			end              = time.Now().Add(700 * time.Millisecond)
		)
		for i := range creators {
			wg.Go(func() {
				for j := 0; time.Now().Before(end); j++ {
					name := filepath.Join(dir, "a/b", fmt.Sprint("c", j%2), fmt.Sprintf("f%d", i))
					calls := 0
					err := Create(name, func(name string) error {
						calls++
						return touch(sys.OS{})(name)
					})
					if err != nil {
						t.Error(err)
						return
					}
					if err := os.Remove(name); err != nil {
						t.Errorf("a file was lost: %v", err)
						return
					}
					RemoveEmptyParents(name, dir)
					files.Add(1)
					fns.Add(int64(calls))
					most.Store(max(most.Load(), int64(calls)))
				}
			})
		}
		for range 2 {
			wg.Go(func() {
				for time.Now().Before(end) {
					RemoveEmptyParents(filepath.Join(dir, "a/b/c0/x"), dir)
					RemoveEmptyParents(filepath.Join(dir, "a/b/c1/x"), dir)
				}
			})
		}
		wg.Wait()
		t.Logf("%d files, %d calls of fn, at most %d for one", files.Load(), fns.Load(), most.Load())
		if most.Load() > 3 {
			t.Errorf("%d calls of fn for one file", most.Load())
		}
		RemoveEmptyParents(filepath.Join(dir, "a/b/c0/x"), dir)
		RemoveEmptyParents(filepath.Join(dir, "a/b/c1/x"), dir)
		if got := list(t, dir); len(got) != 0 {
			t.Errorf("left behind: %q", got)
		}
	})
}

// TestCreateAgainstRemoveAll: a pruner that spares nothing can remove the file that
// holds the directory, too. Create goes on for as long as its patience lasts.
func TestCreateAgainstRemoveAll(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		var stop atomic.Bool
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for !stop.Load() {
					os.RemoveAll(filepath.Join(dir, "a"))
				}
			})
		}
		n := 0
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); n++ {
			f, err := OpenFile(filepath.Join(dir, "a/b/c/f"), os.O_WRONLY|os.O_CREATE, 0o644)
			if err != nil {
				t.Error(err)
				break
			}
			f.Close()
		}
		stop.Store(true)
		wg.Wait()
		t.Logf("%d files", n)
		os.RemoveAll(filepath.Join(dir, "a"))
		if got := list(t, dir); len(got) != 0 {
			t.Errorf("left behind: %q", got)
		}
	})
}

// What is removed for being in the way is what the name says, and never what it is in.
func TestNothingAboveIsInTheWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "a/empty"), 0o755)
	stays := func(what, name string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(dir, "a/empty")); err != nil {
			t.Fatalf("%s(%q): %v", what, name, err)
		}
	}
	for _, name := range []string{dir + "/a/empty/..", dir + "/a/missing/..", dir + "/a/.", dir + "/a/"} {
		if f, err := OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644); err == nil {
			f.Close()
			t.Errorf("OpenFile(%q) succeeded", name)
		}
		stays("OpenFile", name)
		if err := WriteFile(name, nil, 0o644); err == nil {
			t.Errorf("WriteFile(%q) succeeded", name)
		}
		stays("WriteFile", name)
	}
	for _, name := range []string{"", "."} {
		if err := Create(name, func(string) error { return syscall.EISDIR }); err != syscall.EISDIR {
			t.Errorf("Create(%q) = %v", name, err)
		}
	}
}
