// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The long form of the issue: go test -run Stress -fsrace.calls=10000000 -timeout 60m
var stressCalls = flag.Int64("fsrace.calls", 0, "calls of MkdirAll in TestStress (0: for half a second)")

// TestStress has creators make paths of depth 3 below one base while four pruners
// remove the whole tree, over and over. os.MkdirAll is run the same way beside it,
// and must fail, or the test has shown nothing.
//
// G1, G2: parents vanish between any two calls, and come back.
func TestStress(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		calls, prunes, failed := stress(t, filepath.Join(dir, "ours"), *stressCalls, MkdirAll)
		t.Logf("fsrace.MkdirAll: %d calls, %d failed, %d prunes", calls, len(failed), prunes)
		for _, err := range failed[:min(3, len(failed))] {
			t.Error(err)
		}
		// Its failures are rare on a slow machine: go on until one is seen.
		for range 20 {
			calls, prunes, failed = stress(t, filepath.Join(dir, "os"), *stressCalls/10, os.MkdirAll)
			t.Logf("os.MkdirAll: %d calls, %d failed, %d prunes", calls, len(failed), prunes)
			if len(failed) > 0 {
				return
			}
		}
		t.Error("os.MkdirAll never failed: the pruners do not do their work")
	})
}

func stress(t *testing.T, base string, max int64, mkdirAll func(string, os.FileMode) error) (calls, prunes int64, failed []error) {
	const creators, pruners = 4, 4
	var (
		n, removed atomic.Int64
		stop       atomic.Bool
		mu         sync.Mutex
		making     sync.WaitGroup
		pruning    sync.WaitGroup
	)
	if max == 0 {
		timer := time.AfterFunc(500*time.Millisecond, func() { stop.Store(true) })
		defer timer.Stop()
	}
	for i := range creators {
		making.Go(func() {
			paths := [...]string{filepath.Join(base, "a/b/c"), filepath.Join(base, "a/b", string(rune('d'+i)))}
			for j := 0; !stop.Load() && (max == 0 || n.Add(1) <= max); j++ {
				if err := mkdirAll(paths[j%2], 0o755); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
				if max == 0 {
					n.Add(1)
				}
			}
		})
	}
	var done atomic.Bool
	for range pruners {
		pruning.Go(func() {
			for !done.Load() {
				if os.RemoveAll(filepath.Join(base, "a")) == nil {
					removed.Add(1)
				}
			}
		})
	}
	making.Wait()
	done.Store(true)
	pruning.Wait()
	if err := os.RemoveAll(base); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	return n.Load(), removed.Load(), failed
}
