// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// G50: over NFS an exclusive flock(2) needs a descriptor that is open for writing.
func TestLockFileIsOpenForWriting(t *testing.T) {
	t.Parallel()
	l, err := TryAcquire(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	flags, err := unix.FcntlInt(sys.OSFile(l.file).Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDWR {
		t.Errorf("the lock file is open with flags %#x, %v", flags, err)
	}
}

// G48: a child has a copy of the descriptor between its fork and its exec, which does
// not keep the lock once it is released.
func TestReleaseIsForCopiesOfTheDescriptorToo(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "lock")
	l, err := TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(sys.OSFile(l.file).Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	next, err := TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	next.Release()
}

// G55 in the kernel: the naive O_CREATE fails, if it protects regular files.
func TestLockFileOfAnotherUserInAStickyDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make another user's file")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "lock")
	if err := errors.Join(os.WriteFile(name, nil, 0o666), os.Chmod(name, 0o666), os.Chown(name, 65534, 65534),
		os.Chmod(dir, 0o777|fs.ModeSticky)); err != nil {
		t.Skip(err)
	}
	if f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666); err == nil {
		f.Close()
		t.Log("this kernel does not protect regular files: fs.protected_regular is 0")
	}
	l, err := TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// G60: O_TMPFILE would leave no litter, but its linkat(2) cannot replace a file.
// Ours has a name, and can.
func TestUnnamedFileCannotReplace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	os.WriteFile(name, []byte("old"), 0o644)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Skip("O_TMPFILE: ", err)
	}
	defer unix.Close(fd)
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprint("/proc/self/fd/", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	if err != unix.EEXIST {
		t.Errorf("linkat over a file = %v; if it can replace one now, Pending need not leave litter", err)
	}
	if err := WriteFile(name, []byte("new"), 0o644); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(name); string(b) != "new" {
		t.Errorf("there is %q", b)
	}
}

// What MkdirAllIn made may be swapped for anything before its mode is repaired: a
// pipe must not stall it, and a file's mode is left alone.
func TestChmodInRootIsOfDirectoriesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := openRoot(t, dir)
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o400)
	os.Mkdir(filepath.Join(dir, "private"), 0o500)
	if err := mkfifo(filepath.Join(dir, "pipe")); err != nil {
		t.Skip(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- errors.Join(rootFS{root}.Chmod("pipe", 0o777), rootFS{root}.Chmod("file", 0o777), rootFS{root}.Chmod("private", 0o777))
	}()
	select {
	case err := <-done:
		if !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("Chmod = %v", err)
		}
	case <-time.After(30 * time.Second):
		if w, err := os.OpenFile(filepath.Join(dir, "pipe"), os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			w.Close() // lets it go
		}
		t.Fatal("Chmod waits for a writer of the pipe")
	}
	for name, want := range map[string]fs.FileMode{"file": 0o400, "private": 0o700} {
		if i, err := os.Stat(filepath.Join(dir, name)); err != nil || i.Mode().Perm() != want {
			t.Errorf("mode of %s: %v, %v; want %v", name, i.Mode(), err, want)
		}
	}
}
