// SPDX-License-Identifier: MIT

package fdguard

import (
	"fmt"
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
