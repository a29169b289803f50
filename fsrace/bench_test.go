// SPDX-License-Identifier: MIT

package fsrace

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// onEach runs bench on tmpfs and on the disk.
func onEach(b *testing.B, bench func(b *testing.B, dir string)) {
	b.Run("fs=tmpfs", func(b *testing.B) { bench(b, tmpfs(b)) })
	b.Run("fs=disk", func(b *testing.B) { bench(b, b.TempDir()) })
}

var mkdirAlls = []struct {
	impl     string
	mkdirAll func(string, fs.FileMode) error
}{{"ours", MkdirAll}, {"os", os.MkdirAll}}

func BenchmarkMkdirAllExists(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) {
		for _, m := range mkdirAlls {
			b.Run("impl="+m.impl, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := m.mkdirAll(dir, 0o755); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

// missing makes dir/0/rest, dir/1/rest and so on, and removes them off the clock.
func missing(b *testing.B, dir, rest string) {
	const batch = 500
	var paths [batch]string
	for i := range paths {
		paths[i] = fmt.Sprint(dir, "/", i, rest)
	}
	for _, m := range mkdirAlls {
		b.Run("impl="+m.impl, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				if n == batch {
					b.StopTimer()
					for _, path := range paths {
						if _, err := RemoveEmptyParents(path+"/f", dir); err != nil {
							b.Fatal(err)
						}
					}
					n = 0
					b.StartTimer()
				}
				if err := m.mkdirAll(paths[n], 0o755); err != nil {
					b.Fatal(err)
				}
			}
			for _, path := range paths {
				RemoveEmptyParents(path+"/f", dir)
			}
		})
	}
}

func BenchmarkMkdirAllParentExists(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) { missing(b, dir, "") })
}

func BenchmarkMkdirAllTenMissing(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) { missing(b, dir, "/2/3/4/5/6/7/8/9/10") })
}

func BenchmarkMkdirAllParallelFresh(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) {
		for _, m := range mkdirAlls {
			b.Run("impl="+m.impl, func(b *testing.B) {
				for n := 0; b.Loop(); n++ {
					top := filepath.Join(dir, fmt.Sprint(m.impl, b.N, "-", n))
					path := top + "/1/2/3/4/5/6/7/8/9/10"
					b.StopTimer()
					var ready, wg sync.WaitGroup
					start := make(chan struct{})
					ready.Add(64)
					for range 64 {
						wg.Go(func() {
							ready.Done()
							<-start
							if err := m.mkdirAll(path, 0o755); err != nil {
								b.Error(err)
							}
						})
					}
					ready.Wait()
					b.StartTimer()
					close(start)
					wg.Wait()
					b.StopTimer()
					os.RemoveAll(top)
					b.StartTimer()
				}
			})
		}
	})
}

// prunersOf runs three polite pruners of the directories of name until stop is called.
func prunersOf(name, dir string) (stop func()) {
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !done.Load() {
				RemoveEmptyParents(name, dir)
			}
		})
	}
	return func() { done.Store(true); wg.Wait() }
}

func BenchmarkCreateUnderPruners(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) {
		name := dir + "/a/b/c/f"
		for _, c := range []struct {
			impl   string
			create func(calls *int) error
		}{
			{"ours", func(calls *int) error {
				return Create(name, func(name string) error {
					*calls++
					f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
					if err != nil {
						return err
					}
					return f.Close()
				})
			}},
			{"os", func(calls *int) error { // MkdirAll and OpenFile, until they work
				for {
					*calls++
					if os.MkdirAll(filepath.Dir(name), 0o755) != nil {
						continue
					}
					if f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644); err == nil {
						return f.Close()
					}
				}
			}},
		} {
			b.Run("impl="+c.impl, func(b *testing.B) {
				stop := prunersOf(name, dir)
				defer stop()
				most, sum := 0, 0
				for b.Loop() {
					calls := 0
					if err := c.create(&calls); err != nil {
						b.Fatal(err)
					}
					most = max(most, calls)
					sum += calls
					if err := os.Remove(name); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(most), "max-attempts")
				b.ReportMetric(float64(sum)/float64(b.N), "attempts/op")
			})
		}
	})
}

// bareWrite is what durability takes, and no more.
func bareWrite(name string, data []byte) error {
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func BenchmarkWriteFile(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 4096)
	onEach(b, func(b *testing.B, dir string) {
		name := filepath.Join(dir, "f")
		for _, w := range []struct {
			impl  string
			write func() error
		}{
			{"ours", func() error { return WriteFile(name, data, 0o644) }},
			{"bare", func() error { return bareWrite(name, data) }},
		} {
			b.Run("impl="+w.impl, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := w.write(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

func BenchmarkLock(b *testing.B) {
	name := filepath.Join(tmpfs(b), "lock")
	for b.Loop() {
		l, err := TryAcquire(name)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Release(); err != nil {
			b.Fatal(err)
		}
	}
}
