// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// lent opens through the file system, from the cache: what comes back is a *file.
func lent(t testing.TB, c *Cache, name string) *file {
	t.Helper()
	for range 10 { // Valid may pass on a busy machine
		f, err := c.FileSystem().Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*file); ok {
			return f
		}
		f.Close()
	}
	t.Fatalf("%s is not lent", name)
	return nil
}

func TestLentClonesAreUsedAgainFromTheBeginning(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"a": "text"}), Config{})
	first := lent(t, c, "a")
	clone := first.clone
	for range 3 {
		f := lent(t, c, "a")
		if b, err := io.ReadAll(f); err != nil || string(b) != "text" {
			t.Errorf("read %q, %v", b, err)
		}
		if f.clone == clone {
			t.Error("two open files have one clone")
		}
		f.Close()
	}
	first.Close()
	if f := lent(t, c, "a"); f.clone != clone {
		t.Error("the clone was not used again")
	} else {
		f.Close()
	}
}

// A clone of a file that was replaced is not lent to who asks for the new one.
func TestCloneOfReplacedFileIsNotLent(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "old"})
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{Valid: time.Second})
		old := lent(t, c, "a")
		replace(t, filepath.Join(dir, "a"), "new")
		time.Sleep(time.Second)
		wantContent(t, c, "a", "new")
		old.Close()
		for range 2 {
			f := lent(t, c, "a")
			if b, err := io.ReadAll(f); err != nil || string(b) != "new" {
				t.Errorf("read %q, %v", b, err)
			}
			f.Close()
		}
	})
}

// What is dropped is the file that was found closed, not what replaced it.
func TestDropIsOfOneFile(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	c := open(t, dir, Config{Valid: time.Hour})
	f := lent(t, c, "a")
	defer f.Close()
	c.drop("a", f.clone)
	c.drop("b", f.of)
	if n := c.Stats().Kept; n != 1 {
		t.Errorf("%d kept after another's drop", n)
	}
	c.drop("a", f.of)
	c.drop("a", f.of)
	if n := c.Stats().Kept; n != 0 {
		t.Errorf("%d kept after the drop", n)
	}
}

// A file that was closed is dead for good, also when its clone serves somebody else.
func TestClosedFileDoesNotReachTheNextOwner(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"a": "text"}), Config{})
	stale := lent(t, c, "a")
	conn, err := stale.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	stale.Close()
	fresh := lent(t, c, "a")
	defer fresh.Close()
	if fresh.clone != stale.clone {
		t.Fatal("the clone was not used again")
	}
	for name, err := range map[string]error{
		"Read":         second(stale.Read(make([]byte, 1))),
		"ReadAt":       second(stale.ReadAt(make([]byte, 1), 0)),
		"Seek":         second(stale.Seek(1, io.SeekStart)),
		"Stat":         second(stale.Stat()),
		"WriteTo":      second(stale.WriteTo(io.Discard)),
		"ReadDir":      second(stale.ReadDir(-1)),
		"Readdir":      second(stale.Readdir(-1)),
		"SyscallConn":  second(stale.SyscallConn()),
		"Conn.Read":    conn.Read(func(uintptr) bool { t.Error("lent a descriptor"); return true }),
		"Conn.Write":   conn.Write(func(uintptr) bool { t.Error("lent a descriptor"); return true }),
		"Conn.Control": conn.Control(func(uintptr) { t.Error("lent a descriptor") }),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s after Close = %v, want ErrClosed", name, err)
		}
	}
	if g, err := fdguard.Wrap(stale); err == nil {
		t.Errorf("Wrap of a closed file gives %v", g)
	}
	for range 3 {
		if err := stale.Close(); err != nil {
			t.Error(err)
		}
	}
	if b, err := io.ReadAll(fresh); err != nil || string(b) != "text" {
		t.Errorf("the next owner reads %q, %v", b, err)
	}
}

func second[T any](_ T, err error) error { return err }

// The clone of a file that was wrapped is the wrapper's, whoever closes first.
func TestWrappedCloneIsNotLentAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	c := open(t, dir, Config{})
	for _, wrapperFirst := range []bool{true, false} {
		f := lent(t, c, "a")
		g, err := fdguard.Wrap(f)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := fdguard.Wrap(g); err != nil || again != g {
			t.Errorf("Wrap again = %p, %v; want %p", again, err, g)
		}
		if wrapperFirst {
			g.Close()
			f.Close()
		} else {
			f.Close()
		}
		next := lent(t, c, "a")
		if next.clone == f.clone {
			t.Error("a wrapped clone was lent again")
		}
		g.Close()
		if b, err := io.ReadAll(next); err != nil || string(b) != "text" {
			t.Errorf("after the wrapper's Close: %q, %v", b, err)
		}
		next.Close()
	}
}

// Close during an operation does not wait, and the clone is not lent before it ends.
func TestCloseDuringOperation(t *testing.T) {
	t.Parallel()
	c := open(t, newDir(t, map[string]string{"a": "text"}), Config{})
	f := lent(t, c, "a")
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Control(func(fd uintptr) {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		f.Read(make([]byte, 1)) // refused; must not give the clone back either
		other := lent(t, c, "a")
		defer other.Close()
		if other.clone == f.clone {
			t.Error("the clone is lent while an operation is inside")
		}
	})
	if err != nil {
		t.Error(err)
	}
	if f.word.Load() != closedBit|goneBit {
		t.Errorf("word = %x after the operation", f.word.Load())
	}
}

// Readers, closers and evictions race for the same few clones; each reader gets its
// bytes or ErrClosed, and in the end nothing is open.
func TestLendingUnderStress(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"0": strings.Repeat("0", 5000), "1": strings.Repeat("1", 5000), "2": strings.Repeat("2", 5000)})
	c := open(t, dir, Config{Max: 2, Valid: time.Millisecond})
	var wg sync.WaitGroup
	var read atomic.Int64
	rounds := 500
	if testing.Short() {
		rounds = 100
	}
	for i := range 6 {
		wg.Go(func() {
			for n := range rounds {
				name := fmt.Sprint((i + n) % 3)
				f, err := c.FileSystem().Open(name)
				if err != nil {
					t.Error(err)
					return
				}
				closed := make(chan struct{})
				if n%4 == 0 {
					go func() { f.Close(); close(closed) }()
				} else {
					close(closed)
				}
				b, err := io.ReadAll(f)
				switch {
				case err == nil && string(b) == strings.Repeat(name, 5000):
					read.Add(1)
				case !errors.Is(err, fs.ErrClosed) || strings.Trim(string(b), name) != "":
					t.Errorf("%s: %d bytes, %v", name, len(b), err)
				}
				f.Close()
				<-closed
			}
		})
	}
	wg.Wait()
	if read.Load() == 0 {
		t.Error("nothing was read")
	}
	c.Close()
	wantOpen(t, dir, 0)
}

var (
	_ http.File    = (*file)(nil)
	_ io.ReaderAt  = (*file)(nil)
	_ io.WriterTo  = (*file)(nil)
	_ syscall.Conn = (*file)(nil)
)

// Dropped files are closed and reported, though their clones are used again.
func TestDroppedLentFileIsReported(t *testing.T) {
	t.Parallel()
	out := runHelper(t, "drops", newDir(t, map[string]string{"dropped.txt": "text"}))
	if !strings.Contains(out, "dropped.txt") || !strings.Contains(out, "Dropped") {
		t.Errorf("no report: %s", out)
	}
}

func init() {
	helpers["drops"] = func(args []string) error {
		leaks := make(chan fdguard.Leak, 10)
		fdguard.OnLeak(func(l fdguard.Leak) { leaks <- l })
		c, err := New(args[0], Config{})
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := content(c, "dropped.txt"); err != nil { // now it is kept
			return err
		}
		if _, err := c.FileSystem().Open("dropped.txt"); err != nil {
			return err
		}
		for range 1000 {
			runtime.GC()
			select {
			case l := <-leaks:
				fmt.Println(l.Kind, filepath.Base(l.Name))
				return nil
			case <-time.After(10 * time.Millisecond):
			}
		}
		return errors.New("a dropped file was not reported")
	}
}
