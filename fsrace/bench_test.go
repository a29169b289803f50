// SPDX-License-Identifier: MIT

package fsrace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
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

// missing has each make dir/0/rest, dir/1/rest and so on, in turns.
func missing(b *testing.B, dir, rest string) {
	const batch = 200
	var paths [batch]string
	for i := range paths {
		paths[i] = fmt.Sprint(dir, "/", i, rest)
	}
	inTurns(b, batch, []string{mkdirAlls[0].impl, mkdirAlls[1].impl}, func(impl int) error {
		for _, path := range paths {
			if err := mkdirAlls[impl].mkdirAll(path, 0o755); err != nil {
				return err
			}
		}
		return nil
	}, func() {
		for _, path := range paths {
			if _, err := RemoveEmptyParents(path+"/f", dir); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMkdirAllParentExists(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) { missing(b, dir, "") })
}

func BenchmarkMkdirAllTenMissing(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) { missing(b, dir, "/2/3/4/5/6/7/8/9/10") })
}

// BenchmarkMkdirAllParallelFresh has 64 goroutines make one tree. The floor is what
// that takes if one of them makes it, by mkdir(2) and no more since it knows what is
// missing, and the others wait for it and look: so much of the figures is of starting
// goroutines and of the one stat(2) that each must make.
func BenchmarkMkdirAllParallelFresh(b *testing.B) {
	onEach(b, func(b *testing.B, dir string) {
		const rest = "/1/2/3/4/5/6/7/8/9/10"
		var n int
		var once *sync.Once
		floor := func(path string, perm fs.FileMode) error {
			once.Do(func() {
				for i := len(path) - len(rest); i < len(path); i++ {
					if path[i] == '/' {
						syscall.Mkdir(path[:i], uint32(perm))
					}
				}
				syscall.Mkdir(path, uint32(perm))
			})
			_, err := sys.OS{}.Stat(path)
			return err
		}
		inTurns(b, 1, []string{"ours", "floor", "os"}, func(impl int) error {
			n++
			once = new(sync.Once)
			path := fmt.Sprint(dir, "/", n, rest)
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					if err := [...]func(string, fs.FileMode) error{MkdirAll, floor, os.MkdirAll}[impl](path, 0o755); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			return nil
		}, func() { os.RemoveAll(fmt.Sprint(dir, "/", n)) })
	})
}

// inTurns times impls one after the other, over and over, each run of which is so many
// operations, with off between them: what the machine does meanwhile, it does to all.
// Each is compared with the last in the same round, and the median over the rounds is
// reported, with the quartiles.
func inTurns(b *testing.B, ops float64, impls []string, run func(impl int) error, off func()) {
	took := make([][]float64, len(impls))
	for round := 0; b.Loop(); round++ {
		for turn := range impls {
			i := (turn + round) % len(impls) // so that each comes after each
			start := time.Now()
			if err := run(i); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], float64(time.Since(start))/ops)
			off()
		}
	}
	report(b, impls, took, "ns/op")
}

func report(b *testing.B, impls []string, took [][]float64, unit string) {
	last := len(impls) - 1
	for i, impl := range impls {
		if i < last {
			ratios := slices.Clone(took[last])
			for round := range ratios {
				ratios[round] /= took[i][round]
			}
			slices.Sort(ratios)
			for q, name := range map[int]string{1: "-speedup-q1", 2: "-speedup", 3: "-speedup-q3"} {
				b.ReportMetric(ratios[(len(ratios)-1)*q/4], impl+name)
			}
		}
		slices.Sort(took[i])
		b.ReportMetric(took[i][len(took[i])/2], impl+"-"+unit)
	}
}

func init() {
	helpers["prune"] = func(args []string) {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		for {
			RemoveEmptyParents(args[0], args[1])
		}
	}
}

// BenchmarkCreateUnderPruners has three processes prune all the time what one makes:
// a file three directories deep, removed as soon as it is there. The kernel shares
// the processors among all four. The tree is as the pruners left it; or it is gone,
// all of it, each time that the clock is started.
func BenchmarkCreateUnderPruners(b *testing.B) {
	for _, tree := range []string{"any", "gone"} {
		b.Run("tree="+tree, func(b *testing.B) {
			onEach(b, func(b *testing.B, dir string) { createUnderPruners(b, dir, tree == "gone") })
		})
	}
}

func createUnderPruners(b *testing.B, dir string, gone bool) {
	name := dir + "/a/b/c/f"
	for range 3 {
		cmd := helper(b, "prune", name, dir)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		defer cmd.Wait()
		defer stdin.Close()
	}
	open := func(name string) error { return closed(os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)) }
	makers := []func() (attempts int, err error){
		func() (n int, err error) {
			err = Create(name, func(name string) error { n++; return open(name) })
			return n, err
		},
		func() (int, error) { return 1, closed(OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)) },
		func() (n int, err error) { // until it works
			for err = fs.ErrNotExist; err != nil; n++ {
				if err = os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
					err = open(name)
				}
			}
			return n, nil
		},
	}
	impls := []string{"Create", "OpenFile", "os"}
	took := make([][]float64, len(impls))
	var most [3]int
	for round := 0; b.Loop(); round++ {
		for turn := range impls {
			i := (turn + round) % len(impls)
			files, sum := 0, time.Duration(0)
			for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); files++ {
				for err := error(nil); gone && err == nil; {
					_, err = os.Lstat(dir + "/a")
				}
				start := time.Now()
				n, err := makers[i]()
				sum += time.Since(start)
				if err := errors.Join(err, os.Remove(name)); err != nil {
					b.Fatal(err)
				}
				most[i] = max(most[i], n)
			}
			took[i] = append(took[i], float64(sum)/float64(files))
		}
	}
	report(b, impls, took, "ns/file")
	b.ReportMetric(float64(most[0]), "Create-max-attempts")
	b.ReportMetric(float64(most[2]), "os-max-attempts")
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
		inTurns(b, 1, []string{"ours", "bare"}, func(impl int) error {
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
