// SPDX-License-Identifier: MIT

//go:build unix

package opencache

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// G35: opening a FIFO that nobody writes to returns, and is never kept.
func TestFIFOAndSocketDoNotBlock(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "oc") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Skip(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	c := open(t, dir, Config{})
	for range 2 {
		f := mustOpen(t, c, "fifo")
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
			t.Errorf("Stat of the fifo = %v, %v", info, err)
		}
		f.Close()
		if f, err := c.Open("socket"); err == nil {
			f.Close()
			t.Error("a socket was opened as a file")
		}
	}
	if s := c.Stats(); s.Kept != 0 {
		t.Errorf("%+v: something special is kept", s)
	}
}

func setLimit(n int) error {
	limit := unix.Rlimit{Cur: 0, Max: 0}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	assign(&limit.Cur, n)
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

func assign[T int64 | uint64](to *T, n int) { *to = T(n) }

// names creates n files and returns their directory and names.
func manyFiles(t testing.TB, n int) (dir string) {
	files := make(map[string]string)
	for i := range n {
		files[fmt.Sprintf("%03d.txt", i)] = fmt.Sprint("file ", i)
	}
	return newDir(t, files)
}

// With no descriptor left, kept files are given up and the open is tried again.
func TestNoDescriptorLeft(t *testing.T) {
	t.Parallel()
	runHelper(t, "exhausted", manyFiles(t, 100))
}

func init() {
	helpers["exhausted"] = func(args []string) error {
		c, err := New(args[0], Config{Reserve: -1, Valid: time.Hour})
		if err != nil {
			return err
		}
		if err := setLimit(40); err != nil {
			return err
		}
		for round := range 3 {
			for i := range 100 {
				got, err := content(c, fmt.Sprintf("%03d.txt", i))
				if err != nil || got != fmt.Sprint("file ", i) {
					return fmt.Errorf("round %d, file %d: %q, %w", round, i, got, err)
				}
			}
		}
		s := c.Stats()
		if s.Exhausted == 0 || s.Kept == 0 || s.Kept > 40 {
			return fmt.Errorf("%+v: want some kept, and fewer than the limit", s)
		}
		return c.Close()
	}
}

// With no descriptor left and nothing to give up, the error says so, and it passes.
func TestNoDescriptorLeftAndNothingToGiveUp(t *testing.T) {
	t.Parallel()
	runHelper(t, "stuck", manyFiles(t, 3))
}

func init() {
	helpers["stuck"] = func(args []string) error {
		c, err := New(args[0], Config{Reserve: -1})
		if err != nil {
			return err
		}
		if err := setLimit(40); err != nil {
			return err
		}
		var hogs []*os.File
		for {
			f, err := os.Open(os.Args[0])
			if err != nil {
				break
			}
			hogs = append(hogs, f)
		}
		if _, err := c.Open("000.txt"); !isExhausted(err) {
			return fmt.Errorf("Open = %w, want EMFILE", err)
		}
		for _, f := range hogs {
			f.Close()
		}
		got, err := content(c, "000.txt")
		if err != nil || got != "file 0" {
			return fmt.Errorf("afterwards: %q, %w", got, err)
		}
		return c.Close()
	}
}

// The rest of the process keeps its Reserve, whatever is asked of the cache.
func TestReserveIsLeftToOthers(t *testing.T) {
	t.Parallel()
	if _, _, ok := descriptors(); !ok {
		t.Skip("what the process has open is not known here")
	}
	runHelper(t, "reserve", manyFiles(t, 100))
}

func init() {
	helpers["reserve"] = func(args []string) error {
		for reserve, want := range map[int]int{0: 60 / 4, 30: 30} {
			c, err := New(args[0], Config{Reserve: reserve})
			if err != nil {
				return err
			}
			if err := setLimit(60); err != nil {
				return err
			}
			for i := range 100 {
				if _, err := content(c, fmt.Sprintf("%03d.txt", i)); err != nil {
					return err
				}
				if limit, open, _ := descriptors(); limit-open < want {
					return fmt.Errorf("Reserve %d: %d of %d open, file %d", reserve, open, limit, i)
				}
			}
			// G25: the limit may change at any time.
			if err := setLimit(50); err != nil {
				return err
			}
			if reserve == 0 {
				want = 50 / 4
			}
			if _, err := content(c, "000.txt"); err != nil {
				return err
			}
			if _, err := content(c, "001.txt"); err != nil {
				return err
			}
			if limit, open, _ := descriptors(); limit-open < want {
				return fmt.Errorf("Reserve %d, limit lowered: %d of %d open", reserve, open, limit)
			}
			if s := c.Stats(); s.Kept == 0 || s.Exhausted != 0 {
				return fmt.Errorf("Reserve %d: %+v", reserve, s)
			}
			if err := c.Close(); err != nil {
				return err
			}
		}
		return nil
	}
}

// A deploy swaps a symbolic link: one within the root is followed anew, the root is not.
func TestSwappedLinks(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"srv/r1/a": "old", "srv/r2/a": "new"})
	link := func(target, name string) {
		if err := os.Symlink(target, name+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	srv := filepath.Join(dir, "srv")
	link("r1", filepath.Join(srv, "current"))
	link(srv+"/r1", filepath.Join(dir, "www"))
	within := open(t, srv, Config{Valid: -1})
	root := open(t, filepath.Join(dir, "www"), Config{Valid: -1})
	wantContent(t, within, "current/a", "old")
	wantContent(t, root, "a", "old")
	link("r2", filepath.Join(srv, "current"))
	link(srv+"/r2", filepath.Join(dir, "www"))
	wantContent(t, within, "current/a", "new")
	wantContent(t, root, "a", "old")
}

// G29: closing any descriptor of a file drops the process's POSIX locks on it, which
// is what Exclude is for.
func TestRecordLocks(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"app.db": "x"})
	path := filepath.Join(dir, "app.db")
	db, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock := func() {
		t.Helper()
		if err := syscall.FcntlFlock(db.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
			t.Fatal(err)
		}
	}
	locked := func() bool { return strings.Contains(runHelper(t, "locked", path), "locked") }

	lock()
	if !locked() {
		t.Fatal("a child does not see the lock")
	}
	careful := open(t, dir, Config{Exclude: func(name string) bool { return name == "app.db" }})
	if _, err := careful.Open("app.db"); err == nil {
		t.Error("an excluded file was opened")
	}
	if !locked() {
		t.Error("the lock is gone, though the file is excluded")
	}
	careless := open(t, dir, Config{})
	if _, err := content(careless, "app.db"); err != nil {
		t.Fatal(err)
	}
	if !locked() {
		t.Error("the lock is gone while the file is kept")
	}
	careless.Close()
	if locked() {
		t.Error("the lock outlived a close: then the package's documentation is wrong here")
	}
}

func init() {
	helpers["locked"] = func(args []string) error {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		lock := syscall.Flock_t{Type: syscall.F_RDLCK}
		if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
			return err
		}
		if lock.Type != syscall.F_UNLCK {
			fmt.Println("locked")
		}
		return nil
	}
}
