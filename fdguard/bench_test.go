// SPDX-License-Identifier: MIT

package fdguard

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func benchFile(b *testing.B, size int) string {
	name := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	return name
}

// deep calls fn with n more frames on the stack, as a server's handler has.
//
//go:noinline
func deep(n int, fn func()) {
	if n == 0 {
		fn()
		return
	}
	deep(n-1, fn)
}

func BenchmarkOpenStatClose(b *testing.B) {
	name := benchFile(b, 4096)
	levels := []struct {
		name  string
		level Level
	}{{"ours-off", Off}, {"ours-count", Count}, {"ours", Stacks}, {"ours-paranoid", Paranoid}}
	for _, depth := range []int{0, 12} {
		run := func(impl string, fn func()) {
			b.Run("impl="+impl+fmt.Sprint("/depth=", depth), func(b *testing.B) {
				b.ReportAllocs()
				deep(depth, func() {
					for b.Loop() {
						fn()
					}
				})
			})
		}
		run("os", func() {
			f, err := os.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			f.Stat()
			f.Close()
		})
		for _, l := range levels {
			r := &registry{sys: realSys}
			r.lvl.Store(int32(l.level))
			run(l.name, func() {
				f, err := r.open(name, os.O_RDONLY, 0)
				if err != nil {
					b.Fatal(err)
				}
				f.Stat()
				f.Close()
			})
		}
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	r := &registry{sys: realSys}
	f, err := r.open(benchFile(b, 1), os.O_RDONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.Run("op=Do", func(b *testing.B) {
		b.ReportAllocs()
		fn := func(uintptr) error { return nil }
		for b.Loop() {
			f.Do(fn)
		}
	})
	b.Run("op=acquire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if f.h.acquire() {
				f.h.release()
			}
		}
	})
	b.Run("op=Wrap", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Wrap(f)
		}
	})
	b.Run("op=CloneClose", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g, _ := f.Clone()
			g.Close()
		}
	})
	r.lvl.Store(int32(Off))
	g, err := r.open(benchFile(b, 1), os.O_RDONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	b.Run("op=CloneClose-off", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, _ := g.Clone()
			c.Close()
		}
	})
}

func BenchmarkReadAt(b *testing.B) {
	name := benchFile(b, 4096)
	o, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	f, err := Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	w, err := Wrap(p)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	buf := make([]byte, 4096)
	for range 3 { // interleaved: the difference is smaller than the drift
		for _, impl := range []struct {
			name string
			f    io.ReaderAt
		}{{"os", o}, {"ours", f}, {"ours-wrapped", w}} {
			b.Run("impl="+impl.name, func(b *testing.B) {
				for b.Loop() {
					impl.f.ReadAt(buf, 0)
				}
			})
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	file, err := os.Open(benchFile(b, 1))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for _, n := range []int{1000, 100_000} {
		for _, names := range []int{10, n} {
			b.Run(fmt.Sprintf("handles=%d/names=%d", n, names), func(b *testing.B) {
				r := &registry{sys: realSys}
				var fd uintptr
				r.sys.open = func(string, int, os.FileMode) (*os.File, uintptr, fileID, error) {
					fd++
					return file, fd, fileID{}, nil
				}
				r.sys.close = func(*os.File) error { return nil }
				for i := range n {
					deep(i%10, func() {
						f, err := r.open(fmt.Sprint("/srv/data/file-", i%names), os.O_RDONLY, 0)
						if err != nil {
							b.Fatal(err)
						}
						b.Cleanup(func() { f.Close() })
					})
				}
				for b.Loop() {
					r.snapshot()
				}
			})
		}
	}
}
