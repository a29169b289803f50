// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// G11, G12: clones have offsets of their own; the first handle's is undisturbed.
func TestOffsets(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	f := mustOpen(t, r, "0123456789")
	if _, err := io.ReadFull(f, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	a, b := mustClone(t, f), mustClone(t, f)
	if off, err := a.Seek(-2, io.SeekEnd); off != 8 || err != nil {
		t.Errorf("Seek from the end: %d, %v", off, err)
	}
	if off, err := a.Seek(-1, io.SeekCurrent); off != 7 || err != nil {
		t.Errorf("Seek from here: %d, %v", off, err)
	}
	for _, whence := range []int{io.SeekStart, 9} {
		for _, h := range []*File{a, f} {
			if off, err := h.Seek(-1, whence); off != 0 || err == nil {
				t.Errorf("Seek(-1, %d): %d, %v", whence, off, err)
			}
		}
	}
	wantRead(t, a, "789")
	wantRead(t, b, "0123456789")
	wantRead(t, f, "456789")
	if info, err := b.Stat(); err != nil || info.Size() != 10 {
		t.Errorf("Stat: %v, %v", info, err)
	}
}

func TestWriting(t *testing.T) {
	t.Parallel()
	for name, flag := range map[string]int{"at the offset": 0, "appending": os.O_APPEND} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRegistry(t, Stacks)
			f, err := r.open(writeTemp(t, "0123456789"), os.O_RDWR|flag, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			g, err := f.Clone()
			if flag != 0 && errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if _, err := g.WriteString("ab"); err != nil {
				t.Error(err)
			}
			if _, err := io.Copy(g, strings.NewReader("c")); err != nil {
				t.Error(err)
			}
			want := "abc3456789"
			if flag != 0 {
				want = "0123456789abc"
			}
			wantRead(t, f, want)
			if _, err := g.WriteAt([]byte("x"), 1); (err != nil) != (flag != 0) {
				t.Errorf("WriteAt: %v", err)
			}
			if err := errors.Join(g.Truncate(1), g.Sync()); err != nil {
				t.Error(err)
			}
			if info, _ := f.Stat(); info.Size() != 1 {
				t.Errorf("size %d after Truncate(1)", info.Size())
			}
		})
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	f := mustOpen(t, r, "0123456789")
	g := mustClone(t, f)
	if _, err := f.Detach(); err != ErrInUse && !errors.Is(err, ErrInUse) {
		t.Errorf("Detach of a shared file: %v", err)
	}
	f.Close()
	err := g.Do(func(uintptr) error { _, err := g.Detach(); return err })
	if !errors.Is(err, ErrInUse) {
		t.Errorf("Detach with an operation inside: %v", err)
	}
	if _, err := g.Seek(3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	o, err := g.Detach()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	wantRead(t, o, "3456789")
	_, err = g.Detach()
	wantClosed(t, "Detach again", err)
	_, err = g.Read(nil)
	wantClosed(t, "Read after Detach", err)
	if len(r.handles()) != 0 {
		t.Error("still in the table")
	}
	if h, err := r.wrap(o); err != nil || h == g {
		t.Errorf("Wrap of a detached file: %v", err)
	} else {
		h.Close()
	}
	noLeak(t, leaks)
}

// Two holders close at once: the number has left the table before the kernel can
// give it out again, whichever of them is in between.
func TestClosingTogetherLeavesTheTable(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	a := mustOpen(t, r, "x")
	b := mustClone(t, a)
	inside := false
	r.hook = func(point string) {
		if point != "dropped" || inside {
			return
		}
		inside = true
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if n := tableFiles(r); n != 0 || len(r.handles()) != 0 {
			t.Errorf("the descriptor is closed and the table has %d files, %+v", n, r.handles())
		}
	}
	a.Close()
	if !inside {
		t.Error("never in between")
	}
	noLeak(t, leaks)
}

// Off is for Open: what the level was at the opening holds for the clones, and
// Wrap knows its files at any level.
func TestLevelOff(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Off)
	f := mustOpen(t, r, "hello")
	o, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.wrap(o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.wrap(o); again != w || err != nil {
		t.Errorf("wrapped again: %p, %v, want %p", again, err, w)
	}
	_, err = r.adopt(w.h.core.fd, "thief")
	if owned, ok := errors.AsType[*OwnedError](err); runtime.GOOS != "windows" && (!ok || owned.Name != f.Name() || len(owned.Stack) != 0) {
		t.Errorf("Adopt of a wrapped file's number: %v", err)
	}
	r.lvl.Store(int32(Paranoid))
	g := mustClone(t, f)
	if rows := r.handles(); len(rows) != 1 {
		t.Errorf("table: %+v, want what was wrapped", rows)
	}
	wantRead(t, g, "hello")
	for _, h := range []*File{f, g, w} {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := tableFiles(r); n != 0 {
		t.Errorf("%d files left in the table", n)
	}
	noLeak(t, leaks)
}

func TestDroppedAtOffIsClosedSilently(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Off)
	closed := make(chan struct{})
	func() {
		f, err := r.open(writeTemp(t, "x"), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		runtime.AddCleanup(f.h.core.file, func(c chan struct{}) { close(c) }, closed)
	}()
	collect(t, "the file of a dropped handle", func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
	noLeak(t, leaks)
}
