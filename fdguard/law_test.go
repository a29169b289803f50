// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

// G2: wrapping twice and closing once leaks nothing.
func TestWrapIsAnIdentity(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	f := mustOpen(t, r, "hello")
	type inner struct{ *File }
	type outer struct{ inner }
	for name, w := range map[string]fs.File{
		"the handle":            f,
		"a wrapper":             inner{f},
		"a wrapper's wrapper":   &outer{inner{f}},
		"one that says so":      forwarding{fs.File(f), f},
		"the handle's own copy": f.Guard(),
	} {
		if g, err := r.wrap(w); g != f || err != nil {
			t.Errorf("wrap of %s: %p, %v, want %p", name, g, err, f)
		}
		if g, err := Wrap(w); g != f || err != nil {
			t.Errorf("Wrap of %s: %p, %v, want %p", name, g, err, f)
		}
	}
	for range 10_000 {
		name := f.Name()
		o, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		g, err1 := r.wrap(o)
		h, err2 := r.wrap(o)
		if err1 != nil || err2 != nil || g != h {
			t.Fatalf("wrapping one *os.File twice: %p, %v, then %p, %v", g, err1, h, err2)
		}
		g.Close()
		if _, err := r.wrap(o); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("wrap of a closed file: %v", err)
		}
	}
	if n := tableFiles(r); n != 1 {
		t.Errorf("%d files in the table, want 1", n)
	}
	f.Close()
	for name, w := range map[string]fs.File{"handle": f, "wrapper": inner{f}} {
		if _, err := Wrap(w); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Wrap of a closed %s: %v", name, err)
		}
	}
	noLeak(t, leaks)
}

type forwarding struct {
	fs.File
	f *File
}

func (w forwarding) Guard() *File { return w.f }

func TestWrapRefusesWhatHasNoDescriptor(t *testing.T) {
	t.Parallel()
	mem, err := fstest.MapFS{"x": {Data: []byte("x")}}.Open("x")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	if _, err := Wrap(mem); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("in-memory file: %v", err)
	}
	for _, f := range []fs.File{(*os.File)(nil), (*File)(nil), new(File)} {
		if _, err := Wrap(f); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("nil %T: %v", f, err)
		}
	}
}

func TestWrapByManyAtOnce(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	name := writeTemp(t, "x")
	for range 200 {
		o, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]*File, 4)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i], _ = r.wrap(o) })
		}
		wg.Wait()
		for _, g := range got {
			if g == nil || g != got[0] {
				t.Fatalf("handles differ: %v", got)
			}
		}
		got[0].Close()
	}
}

// Of two that wrap a file at once, the one that comes second is given the first's
// handle, and its own is nobody's: it is not dropped, and closes nothing.
func TestWrapOvertaken(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	o, err := os.Open(writeTemp(t, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	var first *File
	r.hook = func(point string) {
		if point != "wrap" || first != nil {
			return
		}
		first = new(File) // not again inside
		first, _ = r.wrap(o)
	}
	second, err := r.wrap(o)
	if err != nil || second != first {
		t.Errorf("got %p, %v, want %p", second, err, first)
	}
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if n := tableHandles(r); n != 1 {
		t.Errorf("%d handles in the table", n)
	}
	wantRead(t, second, "hello")
	second.Close()
	noLeak(t, leaks)
}

// G6, G7: a second Close of one holder takes nothing from another, and nothing
// leads back from closed.
func TestHoldersAreApart(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	a := mustOpen(t, r, "hello")
	b := mustClone(t, a)
	for range 3 {
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	_, err := a.Clone()
	wantClosed(t, "Clone of a closed handle with a living sibling", err)
	wantRead(t, b, "hello")
	c := mustClone(t, b)
	b.Close()
	wantRead(t, c, "hello")
	c.Close()
	_, err = c.Clone()
	wantClosed(t, "Clone after the last Close", err)
	noLeak(t, leaks)
}

// G8: closing the outer of two wrappers, or only the inner, closes once.
func TestWrapperOfWrapper(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	closes := 0
	r.sys.close = func(f *os.File) error { closes++; return f.Close() }
	f := mustOpen(t, r, "x")
	var hooks []string
	in := &hooked{f, func() { hooks = append(hooks, "inner") }}
	out := &hooked{in, func() { hooks = append(hooks, "outer") }}
	out.Close()
	_, err := in.Read(make([]byte, 1))
	wantClosed(t, "inner after outer's Close", err)
	in.File.Close()
	if closes != 1 || strings.Join(hooks, " ") != "outer inner" {
		t.Errorf("closed %d times, hooks %v", closes, hooks)
	}
}

type hooked struct {
	fs.File
	hook func()
}

func (h *hooked) Close() error { h.hook(); return h.File.Close() }

// G9: every exported method of a closed handle says so.
func TestEveryMethodAfterClose(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	f := mustOpen(t, r, "x")
	g := mustClone(t, f)
	for _, f := range []*File{g, f} {
		f.Close()
		v := reflect.ValueOf(f)
		tested := 0
		for i := range v.NumMethod() {
			m, name := v.Method(i), v.Type().Method(i).Name
			switch name {
			case "Close", "Guard", "Name":
				continue
			}
			args := make([]reflect.Value, m.Type().NumIn())
			for j := range args {
				args[j] = reflect.Zero(m.Type().In(j))
			}
			out := m.Call(args)
			err, _ := out[len(out)-1].Interface().(error)
			wantClosed(t, name, err)
			tested++
		}
		if tested < 20 {
			t.Errorf("only %d methods", tested)
		}
		if _, ok := v.Type().MethodByName("Fd"); ok {
			t.Error("there is an Fd method")
		}
		_, err := io.Copy(io.Discard, f)
		wantClosed(t, "io.Copy", err)
	}
	var none *File
	if err := none.Close(); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Close of nil: %v", err)
	}
	if _, err := none.Read(nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Read of nil: %v", err)
	}
}

// G4, G14: Close during an operation returns at once, and the descriptor stays
// open, and in the table, until the operation is over.
func TestCloseDuringOperation(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	var closed bool
	r.sys.close = func(f *os.File) error { closed = true; return f.Close() }
	f := mustOpen(t, r, "hello")
	g := mustClone(t, f)
	err := g.Do(func(fd uintptr) error {
		f.Close()
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if closed {
			t.Error("closed under the operation")
		}
		_, err := g.ReadAt(make([]byte, 1), 0)
		wantClosed(t, "a later operation", err)
		rows := r.handles()
		if len(rows) != 1 || !rows[0].Closing || rows[0].Ops != 1 {
			t.Errorf("table: %+v, want one row, closing with an operation inside", rows)
		}
		if rep := r.snapshot(); rep.ByName[0].Closing != 1 {
			t.Errorf("report: %+v", rep.ByName)
		}
		if !alive(fd) {
			t.Error("the number is not open")
		}
		return io.ErrNoProgress
	})
	if err != io.ErrNoProgress {
		t.Errorf("Do: %v", err)
	}
	if !closed || len(r.handles()) != 0 {
		t.Errorf("after the operation: closed %v, table %v", closed, r.handles())
	}
}

// G36: the error of closing is the last holder's, and is not tried again.
func TestCloseError(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	want, calls := errors.New("no space left on server"), 0
	r.sys.close = func(f *os.File) error { calls++; f.Close(); return want }
	f := mustOpen(t, r, "x")
	g := mustClone(t, f)
	if err := f.Close(); err != nil {
		t.Errorf("first holder: %v", err)
	}
	if err := g.Close(); err != want {
		t.Errorf("last holder: %v", err)
	}
	if err := g.Close(); err != nil || calls != 1 {
		t.Errorf("again: %v, after %d calls", err, calls)
	}
}
