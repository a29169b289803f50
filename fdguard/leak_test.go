// SPDX-License-Identifier: MIT

package fdguard

import (
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// collect runs the collector until done, or long enough.
func collect(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 1000 {
		runtime.GC()
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: not after 1000 collections", what)
}

// G15, G18, G19: handles that are dropped are in the table until the collector
// finds them; then every single one is reported and closed.
func TestDropped(t *testing.T) {
	t.Parallel()
	for _, level := range []Level{Count, Stacks, Paranoid} {
		r, leaks := newRegistry(t, level)
		name := writeTemp(t, "x")
		const n = 200
		func() {
			for range n {
				f, err := r.open(name, os.O_RDONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.Clone(); err != nil {
					t.Fatal(err)
				}
				o, _ := os.Open(name)
				if _, err := r.wrap(o); err != nil {
					t.Fatal(err)
				}
			}
		}()
		collect(t, level.String(), func() bool { return len(leaks) >= 3*n && tableFiles(r) == 0 })
		if len(leaks) != 3*n {
			t.Errorf("%v: %d reports, want %d", level, len(leaks), 3*n)
		}
		l := <-leaks
		if l.Kind != Dropped || l.Name != name || l.Age <= 0 || l.Holders < 1 {
			t.Errorf("%+v", l)
		}
		if level >= Stacks && (len(l.Stack) == 0 || !strings.Contains(l.Stack[0].Func, "TestDropped")) {
			t.Errorf("opened at %v", l.Stack)
		}
		if level == Paranoid && len(l.History) == 0 {
			t.Error("no history")
		}
	}
}

func TestDroppedAtOff(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Off)
	f := mustOpen(t, r, "hello")
	g := mustClone(t, f)
	wantRead(t, g, "hello")
	if len(r.handles()) != 0 || f.h.core.tracked {
		t.Error("in the table at Off")
	}
	noLeak(t, leaks)
}

// G16, G17: a handle in use is not taken for a leak, even if it was copied.
func TestInUseIsNotDropped(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	name := writeTemp(t, "x")
	for range 5 {
		f, err := r.open(name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = f.Do(func(fd uintptr) error { // the last mention of f
			runtime.GC()
			runtime.GC()
			time.Sleep(time.Millisecond)
			if !alive(fd) {
				t.Error("closed under Do")
			}
			noLeak(t, leaks)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		runtime.KeepAlive(f)
		f.Close()
	}
	var copied File
	func() {
		f, err := r.open(name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		reflect.ValueOf(&copied).Elem().Set(reflect.ValueOf(f).Elem()) // as vet would not let us
	}()
	for range 3 {
		runtime.GC()
	}
	time.Sleep(10 * time.Millisecond)
	wantRead(t, &copied, "x")
	copied.Close()
	noLeak(t, leaks)
}

func TestMisuseIsReportedAtParanoid(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Paranoid)
	f := mustOpen(t, r, "x")
	g := mustClone(t, f)
	g.Close()
	g.Close()
	_, _ = g.Read(nil)
	for _, want := range []Kind{DoubleClose, UseAfterClose} {
		l := <-leaks
		if l.Kind != want || l.Holders != 1 || len(l.History) != 3 || l.History[2].Op != "close" {
			t.Errorf("%+v, want %v with the history", l, want)
		}
	}
	if got := r.snapshot().Leaks; got["DoubleClose"] != 1 || got["UseAfterClose"] != 1 {
		t.Errorf("counted %v", got)
	}
}

func TestStacksBeginAtTheCaller(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	name := writeTemp(t, "x")
	o, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, r, "x")
	g, err := r.wrap(o)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	c := mustClone(t, f)
	_ = c
	rows := r.handles()
	want := []string{".mustOpen", ".TestStacksBeginAtTheCaller", ".mustClone"}
	for i, row := range rows {
		if len(row.Stack) < 2 || !strings.HasSuffix(row.Stack[0].Func, want[i]) {
			t.Errorf("row %d opened at %v, want %s", i, row.Stack, want[i])
		}
		if i != 1 && !strings.HasSuffix(row.Stack[1].Func, ".TestStacksBeginAtTheCaller") {
			t.Errorf("row %d called from %v", i, row.Stack[1])
		}
	}
}
