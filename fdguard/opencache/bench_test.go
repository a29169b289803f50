// SPDX-License-Identifier: MIT

package opencache

import (
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// BenchmarkOpenReadClose is a small file read whole, without HTTP.
func BenchmarkOpenReadClose(b *testing.B) {
	dir := newDir(b, map[string]string{"a": strings.Repeat("x", 4096)})
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	c := open(b, dir, Config{})
	for _, impl := range []struct {
		name string
		open func() (fs.File, error)
	}{
		{"os.Open", func() (fs.File, error) { return os.Open(dir + "/a") }},
		{"os.Root", func() (fs.File, error) { return root.Open("a") }},
		{"opencache", func() (fs.File, error) { return c.Open("a") }},
	} {
		b.Run("impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 8192)
			for b.Loop() {
				f, err := impl.open()
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.ReadFull(f, buf[:4096]); n != 4096 {
					b.Fatal(n, err)
				}
				f.Close()
			}
		})
	}
}
