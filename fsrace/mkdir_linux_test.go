// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	helpers["deletedcwd"] = func(args []string) {
		if err := errors.Join(os.Chdir(args[0]), os.Remove(args[0])); err != nil {
			fatal(err)
		}
		start := time.Now()
		err := MkdirAll("x/y/z", 0o755)
		if !errors.Is(err, fs.ErrNotExist) || time.Since(start) > 5*time.Second {
			fatal(err, time.Since(start))
		}
	}
	helpers["umask"] = func(args []string) {
		syscall.Umask(0o377)
		if err := MkdirAll(filepath.Join(args[0], "a/b/c"), 0o755); err != nil {
			fatal(err)
		}
		syscall.Umask(0o022)
		if err := MkdirAll(filepath.Join(args[0], "d/e/f"), 0o500); err != nil {
			fatal(err)
		}
		if os.Geteuid() != 0 {
			if err := os.MkdirAll(filepath.Join(args[0], "g/h/i"), 0o500); err == nil {
				fatal("os.MkdirAll can do it as well")
			}
		}
		root, err := os.OpenRoot(args[0])
		if err != nil {
			fatal(err)
		}
		defer root.Close()
		syscall.Umask(0o377)
		if err := MkdirAllIn(root, "j/k/l", 0o755); err != nil {
			fatal(err)
		}
	}
	helpers["mkdirall"] = func(args []string) { mkdirEach(args, MkdirAll) }
	helpers["osmkdirall"] = func(args []string) { mkdirEach(args, os.MkdirAll) }
}

func mkdirEach(paths []string, mkdirAll func(string, fs.FileMode) error) {
	os.Stat("/begin")
	for _, path := range paths {
		if err := mkdirAll(path, 0o755); err != nil {
			fatal(err)
		}
	}
	os.Stat("/end")
}

// G8: a deleted working directory is a dead end, not a pruner at work.
func TestDeletedWorkingDirectory(t *testing.T) {
	t.Parallel()
	if err := helper(t, "deletedcwd", filepath.Join(t.TempDir())).Run(); err != nil {
		t.Error(err)
	}
}

// G10: whatever perm and umask, the creator can go on below its directories.
func TestIntermediatesAreUsable(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t) // an ordinary user cannot get at t.TempDir of root
	cmd := helper(t, "umask", dir)
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		exe := filepath.Join(dir, "test")
		if b, err := os.ReadFile(cmd.Path); err != nil || os.WriteFile(exe, b, 0o755) != nil {
			t.Skip("the test binary cannot be copied for an ordinary user")
		}
		cmd.Path, cmd.Dir = exe, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"a": 0o700, "a/b": 0o700, "a/b/c": 0o400, "d": 0o700, "d/e": 0o700, "d/e/f": 0o500, "j": 0o700} {
		if i, err := os.Stat(filepath.Join(dir, name)); err != nil || i.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", name, i.Mode(), err, want)
		}
	}
}

// G13: a mode that is not the one asked for is normal, and no error.
func TestSetgidIsInherited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755|fs.ModeSetgid); err != nil {
		t.Skip(err)
	}
	if err := MkdirAll(filepath.Join(dir, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if i, _ := os.Stat(filepath.Join(dir, "a/b")); i.Mode()&fs.ModeSetgid == 0 {
		t.Skip("this file system does not pass setgid on")
	}
}

// trace returns the file-system calls that a helper makes between its marks.
func trace(t *testing.T, name string, args ...string) []string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace")
	}
	out := filepath.Join(t.TempDir(), "trace")
	cmd := helper(t, name, args...)
	cmd.Args = append([]string{"strace", "-f", "-qq", "-e", "trace=%file,fsync,fdatasync", "-o", out, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	if err := cmd.Run(); err != nil {
		b, _ := os.ReadFile(out)
		if len(b) == 0 {
			t.Skip("strace may not trace here")
		}
		t.Fatalf("%v\n%s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	_, s, ok1 := strings.Cut(string(b), `"/begin"`)
	s, _, ok2 := strings.Cut(s, `"/end"`)
	if !ok1 || !ok2 {
		t.Fatalf("no marks in\n%s", b)
	}
	// A call during which another thread is heard of comes in two lines.
	return regexp.MustCompile(`(?m)^\d+ +(?:\w+\(|<\.\.\. \w+ resumed>).*\) += .*$`).FindAllString(s, -1)
}

func TestSystemCallsOfMkdirAll(t *testing.T) {
	t.Parallel()
	base := tmpfs(t)
	deep := "/1/2/3/4/5/6/7/8/9/10"
	if err := os.MkdirAll(base+"/os", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(base+"/ours", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what     string
		path     string
		ours, os int
	}{
		{"leaf exists", "", 1, 1},
		{"parent exists", "/leaf", 2, 3},
		{"ten levels missing", deep, 16, 21},
	} {
		ours := trace(t, "mkdirall", base+"/ours"+tc.path)
		theirs := trace(t, "osmkdirall", base+"/os"+tc.path)
		t.Logf("%s: ours %d, os %d", tc.what, len(ours), len(theirs))
		if len(ours) > tc.ours || len(theirs) != tc.os {
			t.Errorf("%s: %d calls, at most %d wanted; os %d, expected %d\n%s", tc.what, len(ours), tc.ours, len(theirs), tc.os, strings.Join(ours, "\n"))
		}
	}
}

func TestAllocations(t *testing.T) {
	path := t.TempDir()
	if n := testing.AllocsPerRun(1000, func() {
		if err := MkdirAll(path, 0o755); err != nil {
			panic(err)
		}
	}); n > 1 {
		t.Errorf("MkdirAll of what exists allocates %v times", n)
	}
}
