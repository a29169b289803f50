// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"os"
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
		if _, err := a.Seek(-1, whence); err == nil {
			t.Errorf("Seek(-1, %d) succeeded", whence)
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
