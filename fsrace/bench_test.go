// SPDX-License-Identifier: MIT

package fsrace

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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

// BenchmarkMkdirAllParallelFresh has 64 goroutines make one tree; idle is what
// starting and awaiting them takes, so it is in the other figures as well.
func BenchmarkMkdirAllParallelFresh(b *testing.B) {
	idle := func(string, fs.FileMode) error { return nil }
	onEach(b, func(b *testing.B, dir string) {
		n := 0
		inTurns(b, []string{"ours", "idle", "os"}, func(impl int) error {
			n++
			path := fmt.Sprint(dir, "/", n, "/1/2/3/4/5/6/7/8/9/10")
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					if err := [...]func(string, fs.FileMode) error{MkdirAll, idle, os.MkdirAll}[impl](path, 0o755); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			return nil
		}, func() { os.RemoveAll(fmt.Sprint(dir, "/", n)) })
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

// inTurns times impls one after the other, over and over, with off between them, and
// reports the mean of each: what the machine does meanwhile, it does to all. Their
// first is ours, and their last what it is compared with.
func inTurns(b *testing.B, impls []string, run func(impl int) error, off func()) {
	took := make([]time.Duration, len(impls))
	all := make([][]time.Duration, len(impls))
	for b.Loop() {
		for i := range impls {
			start := time.Now()
			if err := run(i); err != nil {
				b.Fatal(err)
			}
			d := time.Since(start)
			took[i] += d
			all[i] = append(all[i], d)
			off()
		}
	}
	last := len(impls) - 1
	for i := range all {
		slices.Sort(all[i])
	}
	for i, impl := range impls {
		b.ReportMetric(float64(took[i].Nanoseconds())/float64(b.N), impl+"-ns/op")
		b.ReportMetric(float64(all[i][b.N/2].Nanoseconds()), impl+"-median-ns")
		if i < last {
			b.ReportMetric(float64(took[last])/float64(took[i]), impl+"-speedup")
			b.ReportMetric(float64(all[last][b.N/2])/float64(all[i][b.N/2]), impl+"-median-speedup")
		}
	}
}

// BenchmarkCreateUnderPruners starts each time when the whole tree has been pruned.
func BenchmarkCreateUnderPruners(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) {
		name := dir + "/a/b/c/f"
		stop := prunersOf(name, dir)
		defer stop()
		var most [3]int
		run := func(impl int) error {
			calls := 0
			defer func() { most[impl] = max(most[impl], calls) }()
			switch impl {
			case 0:
				return Create(name, func(name string) error {
					calls++
					return closed(os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644))
				})
			case 1:
				calls++
				return closed(OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644))
			}
			for { // until it works
				calls++
				if os.MkdirAll(filepath.Dir(name), 0o755) == nil && closed(os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)) == nil {
					return nil
				}
			}
		}
		inTurns(b, []string{"Create", "OpenFile", "os"}, run, func() {
			if err := os.Remove(name); err != nil {
				b.Fatal(err)
			}
			for err := error(nil); err == nil; {
				_, err = os.Stat(dir + "/a")
			}
		})
		b.ReportMetric(float64(most[0]), "Create-max-attempts")
		b.ReportMetric(float64(most[2]), "os-max-attempts")
	})
}

func closed(f *os.File, err error) error {
	if err != nil {
		return err
	}
	return f.Close()
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

// BenchmarkWriteFile goes by the median, since fsync's time varies by more than what
// is measured.
func BenchmarkWriteFile(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 4096)
	onEach(b, func(b *testing.B, dir string) {
		inTurns(b, []string{"ours", "bare"}, func(impl int) error {
			if impl == 0 {
				return WriteFile(filepath.Join(dir, "ours"), data, 0o644)
			}
			return bareWrite(filepath.Join(dir, "bare"), data)
		}, func() {})
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
