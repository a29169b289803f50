// SPDX-License-Identifier: MIT

package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fill makes n waiting jobs without syncing each.
func fill(b testing.TB, s *Spool, n int) {
	b.Helper()
	for i := range n {
		f := s.moved(file{name: fmt.Sprintf("job-%06d.xml", i), id: newID()})
		must(b, os.WriteFile(s.path(newPart, f.String()), nil, 0o644))
	}
}

// BenchmarkClaimDone compares taking and finishing a job with the two bare renames
// that it cannot do without, with so many jobs waiting at the start. The renames
// are of names as long as ours, and need not find out which job to take.
func BenchmarkClaimDone(b *testing.B) {
	for _, waiting := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("waiting=%d/impl=rename", waiting), func(b *testing.B) {
			s := start(b, shm(b), Config{})
			var names []string
			i := 0
			for b.Loop() {
				if i == len(names) {
					b.StopTimer()
					fill(b, s, waiting)
					names, _ = s.list(newPart)
					i = 0
					b.StartTimer()
				}
				base := names[i]
				i++
				if err := s.fs.Rename(filepath.Join(s.dir, newPart, base), filepath.Join(s.dir, claimedPart, base)); err != nil {
					b.Fatal(err)
				}
				if err := s.fs.Rename(filepath.Join(s.dir, claimedPart, base), filepath.Join(s.dir, donePart, base)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("waiting=%d/impl=os", waiting), func(b *testing.B) {
			s := start(b, shm(b), Config{})
			var names []string
			i := 0
			for b.Loop() {
				if i == len(names) {
					b.StopTimer()
					fill(b, s, waiting)
					names, _ = s.list(newPart)
					i = 0
					b.StartTimer()
				}
				base := names[i]
				i++
				if err := os.Rename(filepath.Join(s.dir, newPart, base), filepath.Join(s.dir, claimedPart, base)); err != nil {
					b.Fatal(err)
				}
				if err := os.Rename(filepath.Join(s.dir, claimedPart, base), filepath.Join(s.dir, donePart, base)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("waiting=%d/impl=ours", waiting), func(b *testing.B) {
			s := start(b, shm(b), Config{})
			left := 0
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					fill(b, s, waiting)
					left = waiting
					b.StartTimer()
				}
				left--
				c, err := s.TryClaim()
				if err != nil {
					b.Fatal(err)
				}
				if err := c.Done(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPut is two fsyncs and a rename on a disk.
func BenchmarkPut(b *testing.B) {
	for name, dir := range map[string]func(testing.TB) string{"memory": shm, "disk": func(t testing.TB) string { return t.TempDir() }} {
		b.Run("dir="+name, func(b *testing.B) {
			s := start(b, dir(b), Config{})
			for b.Loop() {
				must(b, s.Put("job.xml", strings.NewReader("<message/>")))
			}
		})
	}
}
