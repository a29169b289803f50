// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// FuzzModel runs a sequence of operations beside what they should do.
func FuzzModel(f *testing.F) {
	f.Add([]byte("crkxrwdxk"))
	f.Add([]byte{0, 16, 33, 66, 5, 21, 38, 3, 19, 7, 23})
	const content = "0123456789abcdef"
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 200 {
			ops = ops[:200]
		}
		name := writeTemp(t, content)
		r, leaks := newRegistry(t, Stacks)
		closes := 0
		r.sys.close = func(f *os.File) error { closes++; return f.Close() }
		root, err := r.open(name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		type model struct {
			f    *File
			open bool
			off  int
		}
		holders, detached := []*model{{root, true, 0}}, false
		for i, b := range ops {
			m := holders[int(b>>4)%len(holders)]
			what := fmt.Sprintf("op %d (%d on holder %d)", i, b&7, int(b>>4)%len(holders))
			check := func(err error) bool {
				if m.open != (err == nil) || err != nil && !errors.Is(err, fs.ErrClosed) {
					t.Fatalf("%s: %v, holder open: %v", what, err, m.open)
				}
				return err == nil
			}
			switch b & 7 {
			case 0:
				if g, err := m.f.Clone(); check(err) {
					holders = append(holders, &model{g, true, 0})
				}
			case 1:
				buf := make([]byte, 5)
				n, err := m.f.Read(buf)
				if m.open && m.off >= len(content) {
					if n != 0 || err != io.EOF {
						t.Fatalf("%s: Read at the end: %d, %v", what, n, err)
					}
				} else if check(err) {
					if want := content[m.off:min(len(content), m.off+5)]; string(buf[:n]) != want {
						t.Fatalf("%s: Read %q, want %q", what, buf[:n], want)
					}
					m.off += n
				}
			case 2:
				if err := m.f.Close(); err != nil {
					t.Fatalf("%s: Close: %v", what, err)
				}
				m.open = false
			case 3:
				g, err := Wrap(m.f)
				if check(err) && g != m.f {
					t.Fatalf("%s: Wrap gave another handle", what)
				}
			case 4:
				off := int(b >> 4)
				if _, err := m.f.Seek(int64(off), io.SeekStart); check(err) {
					m.off = off
				}
			case 5:
				buf := make([]byte, 3)
				if _, err := m.f.ReadAt(buf, 4); check(err) && string(buf) != content[4:7] {
					t.Fatalf("%s: ReadAt %q", what, buf)
				}
			case 6:
				check(m.f.Do(func(uintptr) error { return nil }))
			case 7:
				alone := 0
				for _, o := range holders {
					if o.open {
						alone++
					}
				}
				file, err := m.f.Detach()
				switch {
				case m.open && alone > 1:
					if !errors.Is(err, ErrInUse) {
						t.Fatalf("%s: Detach of a shared file: %v", what, err)
					}
				case check(err):
					if off, err := file.Seek(0, io.SeekCurrent); err != nil || off != int64(m.off) {
						t.Fatalf("%s: detached at %d, %v, want %d", what, off, err, m.off)
					}
					file.Close()
					m.open, detached = false, true
				}
			}
			open := 0
			for _, o := range holders {
				if o.open {
					open++
				}
			}
			if want := map[bool]int{true: 1}[open == 0 && !detached]; closes != want || tableHandles(r) != open {
				t.Fatalf("%s: %d open, closed %d times, table has %d", what, open, closes, tableHandles(r))
			}
		}
		for _, m := range holders {
			m.f.Close()
		}
		noLeak(t, leaks)
	})
}

// G5: goroutines clone, read and close while the root closes.
func TestStress(t *testing.T) {
	t.Parallel()
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	name := writeTemp(t, "0123456789")
	for range rounds {
		r, leaks := newRegistry(t, Stacks)
		var closes atomic.Int32
		r.sys.close = func(f *os.File) error { closes.Add(1); return f.Close() }
		root, err := r.open(name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 1 + rand.IntN(20) {
					g, err := root.Clone()
					if err != nil {
						wantClosed(t, "Clone", err)
						return
					}
					buf := make([]byte, 4)
					if _, err := g.ReadAt(buf, 3); err != nil || string(buf) != "3456" {
						t.Errorf("ReadAt of an open clone: %q, %v", buf, err)
					}
					wg.Go(func() { g.Close() })
					g.Close()
				}
			})
		}
		for range rand.IntN(20) {
			runtime.Gosched()
		}
		root.Close()
		wg.Wait()
		if n := closes.Load(); n != 1 || tableFiles(r) != 0 {
			t.Fatalf("closed %d times, %d files in the table", n, tableFiles(r))
		}
		noLeak(t, leaks)
	}
}
