// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// G14: mkdirat(2) in a removed directory says ENOENT for ever, so a handle to one
// must not be kept: each try starts from the root again. If it is the root that is
// gone, that is a dead end, and found out soon.
func TestRemovedDirectoryIsNotHeldByAHandle(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "root")
	os.Mkdir(dir, 0o755)
	root := openRoot(t, dir)
	removed := 0
	calls := removing{rootFS{root}, func(name string) {
		if name == filepath.Join("a", "b") && removed < 3 {
			removed++
			os.RemoveAll(filepath.Join(dir, "a")) // just before the call in it
		}
	}}
	if err := mkdirAll(calls, filepath.Join("a", "b"), 0o755); err != nil || removed != 3 {
		t.Errorf("after %d removals: %v", removed, err)
	}
	os.RemoveAll(dir)
	start := time.Now()
	if err := MkdirAllIn(root, "a/b", 0o755); !errors.Is(err, fs.ErrNotExist) || time.Since(start) > patience/2 {
		t.Errorf("in a removed root: %v after %v", err, time.Since(start))
	}
}

type removing struct {
	dirFS
	before func(name string)
}

func (r removing) Mkdir(name string, perm fs.FileMode) error {
	r.before(name)
	return r.dirFS.Mkdir(name, perm)
}

// G16: mkdir of what another has just made says EISDIR on OpenBSD, and may say
// EACCES, EROFS or anything else on others. What is there decides.
func TestErrnoOfMkdirDoesNotDecide(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{syscall.EISDIR, syscall.EACCES, syscall.EROFS, syscall.EEXIST, errors.New("unheard of")} {
		d := systest.NewDisk()
		made := systest.Wrap(d, func(c systest.Call, do func() error) error {
			if err := do(); c.Op != "mkdir" || err != nil {
				return err
			}
			return errno // the directory is there by now
		})
		if err := mkdirAll(made, "/a/b/c", 0o755); err != nil {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// G49: closing another descriptor of the lock file drops a POSIX lock, and reading
// who holds it is just that. It does not drop this one.
func TestReadingTheHolderKeepsTheLock(t *testing.T) {
	t.Parallel()
	needLocks(t)
	name := filepath.Join(t.TempDir(), "lock")
	l, err := TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if _, err := os.ReadFile(name); err != nil {
		t.Fatal(err)
	}
	if o, err := Holder(name); err != nil || o != l.Owner() {
		t.Errorf("Holder = %v, %v", o, err)
	}
	// Another process tells: POSIX locks never exclude the own one.
	if err := helper(t, "lock", name).Run(); err == nil {
		t.Error("another process got the lock")
	}
}

// G55: in a sticky directory the kernel refuses O_CREAT for another user's file,
// even one that may be written (proc_sys_fs(5), protected_regular).
func TestLockFileOfAnotherUser(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"is there": 0, "appears after the first look": 1} {
		d := &sticky{Disk: systest.NewDisk(), appears: others}
		l, err := tryAcquire(d, "/lock")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		l.Release()
	}
	d := &sticky{Disk: systest.NewDisk(), appears: -1}
	if _, err := tryAcquire(d, "/lock"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("where no file may be made: %v", err)
	}
}

type sticky struct {
	*systest.Disk
	appears int // at this call of Open
	opens   int
}

func (s *sticky) Open(name string, flag int, perm fs.FileMode) (sys.File, error) {
	f, err := s.open(name, flag, perm)
	s.opens++
	return f, err
}

func (s *sticky) open(name string, flag int, perm fs.FileMode) (sys.File, error) {
	if s.opens == s.appears {
		s.Create("/lock")
	}
	if flag&os.O_CREATE != 0 {
		return nil, syscall.EACCES
	}
	return s.Disk.Open(name, flag, perm)
}

// G65: the temporary file is made where the file will be, behind any link or mount
// point, and so on the same file system, which need not be that of os.TempDir.
func TestTemporaryFileIsBesideItsTarget(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), tmpfs(t)
	if err := os.Symlink(other, filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	p, err := NewPending(filepath.Join(dir, "link/f"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Discard()
	if got := list(t, other); len(got) != 1 || !strings.HasPrefix(got[0], tempPrefix) {
		t.Errorf("beside the target there is %q", got)
	}
	if err := p.Commit(); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(list(t, other), list(t, dir)); got != "[f] [link]" {
		t.Errorf("afterwards there is %s", got)
	}
}

// G57: the directory is removed and made again by somebody who does not sync it,
// while a file for it is being written. The names of all parents are synced.
func TestCommitIntoARemadeDirectorySurvivesACrash(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	if err := writeFile(d, "/a/b/other", "", (*Pending).Commit); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(d, "/a/b/f", "new", func(p *Pending) error {
		d.RemoveAll("/a")
		mkdirAll(d, "/a/b", 0o755)
		return p.Commit()
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.EachCrash(func(after *systest.Disk) error {
		if got := after.Files()["/a/b/f"]; got != "new" {
			return fmt.Errorf("after the crash there is %q", after.Files())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// G57: somebody else makes the directory when a writer has just found it missing, and
// has not synced it when the writer is done. The writer syncs its names.
func TestCommitIntoADirectoryThatAnotherMadeSurvivesACrash(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	late := systest.Wrap(d, func(c systest.Call, do func() error) error {
		err := do()
		if c.Op == "open" && errors.Is(err, fs.ErrNotExist) {
			mkdirAll(d, "/a/b", 0o755)
		}
		return err
	})
	if err := writeFile(late, "/a/b/f", "new", (*Pending).Commit); err != nil {
		t.Fatal(err)
	}
	if err := d.EachCrash(func(after *systest.Disk) error {
		if got := after.Files()["/a/b/f"]; got != "new" {
			return fmt.Errorf("after the crash there is %q", after.Files())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
