// SPDX-License-Identifier: MIT

package fsrace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func init() {
	helpers["lock"] = func(args []string) { // lock NAME: hold it until stdin ends
		l, err := TryAcquire(args[0])
		if err != nil {
			fatal(err)
		}
		fmt.Println(l.Owner())
		io.Copy(io.Discard, os.Stdin)
		if err := l.Release(); err != nil {
			fatal(err)
		}
	}
	helpers["count"] = func(args []string) { // count LOCK FILE: add 1 to FILE 50 times, under LOCK
		for range 50 {
			l, err := Acquire(context.Background(), args[0])
			if err != nil {
				fatal(err)
			}
			if err := increment(args[1]); err != nil {
				fatal(err)
			}
			if err := l.Release(); err != nil {
				fatal(err)
			}
		}
	}
	helpers["sleep"] = func([]string) { io.Copy(io.Discard, os.Stdin) }
}

func increment(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var n int
	fmt.Sscan(string(b), &n)
	return os.WriteFile(name, fmt.Append(nil, n+1), 0o644)
}

func needLocks(t *testing.T) {
	t.Helper()
	l, err := TryAcquire(filepath.Join(t.TempDir(), "probe"))
	if errors.Is(err, ErrNoLocks) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// holding starts a process that holds the lock until the returned function is called.
func holding(t *testing.T, name string) (cmd *exec.Cmd, owner Owner, release func()) {
	t.Helper()
	cmd = helper(t, "lock", name)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { stdin.Close(); cmd.Wait() })
	t.Cleanup(release)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if owner, err = ParseOwner(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return cmd, owner, release
}

// G52: goroutines exclude each other as processes do.
func TestLockExcludesGoroutines(t *testing.T) {
	t.Parallel()
	needLocks(t)
	eachFS(t, func(t *testing.T, dir string) {
		name := filepath.Join(dir, "a/b/lock")
		var wg sync.WaitGroup
		inside := 0 // plain on purpose
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				for range 20 {
					l, err := Acquire(t.Context(), name)
					if err != nil {
						t.Error(err)
						return
					}
					// The race detector cannot see a lock that the kernel keeps.
					mu.Lock()
					inside++
					if inside != 1 {
						t.Error("two hold the lock")
					}
					mu.Unlock()
					runtime.Gosched()
					mu.Lock()
					inside--
					mu.Unlock()
					if err := l.Release(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		// G45: the file is never removed.
		if got := list(t, filepath.Dir(name)); len(got) != 1 {
			t.Errorf("there is %q", got)
		}
	})
}

func TestLockExcludesProcesses(t *testing.T) {
	t.Parallel()
	needLocks(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "n")
	os.WriteFile(file, []byte("0"), 0o644)
	var cmds []*exec.Cmd
	for range 4 {
		cmd := helper(t, "count", filepath.Join(dir, "lock"), file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "200" {
		t.Errorf("counted to %s, want 200", b)
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	t.Parallel()
	needLocks(t)
	name := filepath.Join(t.TempDir(), "lock")
	if _, err := Holder(name); !errors.Is(err, ErrNotHeld) {
		t.Errorf("Holder of a missing lock = %v", err)
	}
	cmd, owner, release := holding(t, name)
	if owner.PID != cmd.Process.Pid {
		t.Errorf("the holder is %v, want PID %d", owner, cmd.Process.Pid)
	}
	if got, err := Holder(name); err != nil || got != owner {
		t.Errorf("Holder = %v, %v; want %v", got, err, owner)
	}
	_, err := TryAcquire(name)
	if held, ok := errors.AsType[*HeldError](err); !ok || held.Owner != owner || held.Name != name {
		t.Errorf("TryAcquire = %v, want a HeldError of %v", err, owner)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, cause)
	defer cancel()
	_, err = Acquire(ctx, name)
	if held, ok := errors.AsType[*HeldError](err); !ok || !errors.Is(err, cause) || held.Owner != owner {
		t.Errorf("Acquire = %v", err)
	}
	release()
	if _, err := Holder(name); !errors.Is(err, ErrNotHeld) {
		t.Errorf("Holder of a released lock = %v", err)
	}
	l, err := Acquire(ctx, name) // free, so taken although ctx has ended
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Check(), l.Release(), l.Release()); err != nil {
		t.Error(err)
	}
	if err := l.Check(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Check after Release = %v", err)
	}
}

// The lock dies with its process, however that dies.
func TestLockDiesWithTheProcess(t *testing.T) {
	t.Parallel()
	needLocks(t)
	name := filepath.Join(t.TempDir(), "lock")
	cmd, owner, _ := holding(t, name)
	cmd.Process.Kill()
	cmd.Wait()
	if got := owner.Liveness(); runtime.GOOS == "linux" && got != Dead {
		t.Errorf("the holder is %v", got)
	}
	if _, err := Holder(name); runtime.GOOS == "linux" && !errors.Is(err, ErrNotHeld) {
		t.Errorf("Holder = %v", err)
	}
	l, err := TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Holder(name); err != nil || got != l.Owner() {
		t.Errorf("Holder = %v, %v", got, err)
	}
	l.Release()
}

// G47: a lock that nobody refers to any more is still held.
func TestLockSurvivesGC(t *testing.T) {
	t.Parallel()
	needLocks(t)
	name := filepath.Join(t.TempDir(), "lock")
	if _, err := TryAcquire(name); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
	}
	if _, err := TryAcquire(name); err == nil {
		t.Fatal("the lock was dropped by the garbage collector")
	}
	locks.Range(func(l, _ any) bool { // nobody else can release it
		if l := l.(*Lock); l.Name() == name {
			l.Release()
		}
		return true
	})
}

// G48: a child that outlives the release does not keep the lock.
func TestLockIsNotInherited(t *testing.T) {
	t.Parallel()
	needLocks(t)
	name := filepath.Join(t.TempDir(), "lock")
	l, err := TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	child := helper(t, "sleep")
	stdin, _ := child.StdinPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); child.Wait() }()
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// G53: the lock file is replaced under the holder, as a restored backup does.
func TestLockNoticesReplacement(t *testing.T) {
	t.Parallel()
	needLocks(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "lock")
	l, err := TryAcquire(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	os.WriteFile(name+".bak", nil, 0o644)
	os.Rename(name+".bak", name)
	if err := l.Check(); !errors.Is(err, ErrLockLost) {
		t.Errorf("Check after replacement = %v", err)
	}
	os.Remove(name)
	if err := l.Check(); !errors.Is(err, ErrLockLost) {
		t.Errorf("Check after removal = %v", err)
	}
}

// G54: what is no regular file is refused, and does not block.
func TestLockRefusesOtherFiles(t *testing.T) {
	t.Parallel()
	needLocks(t)
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
	os.Symlink("file", filepath.Join(dir, "link"))
	os.Mkdir(filepath.Join(dir, "dir"), 0o755)
	os.WriteFile(filepath.Join(dir, "dir/x"), nil, 0o644)
	names := []string{"link", "dir"}
	if mkfifo(filepath.Join(dir, "pipe")) == nil {
		names = append(names, "pipe")
	}
	for _, name := range names {
		if l, err := TryAcquire(filepath.Join(dir, name)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("TryAcquire of a %s = %v, %v", name, l, err)
		}
	}
}
