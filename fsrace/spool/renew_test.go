// SPDX-License-Identifier: MIT

package spool

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// One who has lost a claim and renews its lease again does not keep its successor's
// alive: each renews what is its own.
func TestRenewalIsOfOnesOwn(t *testing.T) { // G39
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "j")
		const term = time.Minute
		first, second := plug(w.disk), plug(w.disk)
		old, next := on(t, first, worldDir, Config{Lease: term}), unreachable(on(t, second, worldDir, Config{Lease: term}))
		judge := unreachable(w.open(t, Config{Lease: term}))
		defer judge.Close()
		claim(t, old)
		synctest.Wait()
		first.cut.Store(true)
		for range 2 { // the first look only takes note
			next.Reclaim()
			time.Sleep(term + time.Second)
		}
		next.Reclaim()
		c := claim(t, next)
		first.cut.Store(false) // from now on the old one renews
		synctest.Wait()
		second.cut.Store(true)
		time.Sleep(term)
		for range 2 {
			judge.Reclaim()
			time.Sleep(term + time.Second)
		}
		if got := claim(t, judge); got.Name() != c.Name() || got.Generation() != 3 {
			t.Errorf("claimed %s in generation %d", got.Name(), got.Generation())
		}
		second.cut.Store(false)
		must(t, old.Close())
		must(t, next.Close())
	})
}

func TestRenewalSurvivesErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "j")
		cable := plug(w.disk)
		holder := on(t, cable, worldDir, Config{Lease: time.Minute})
		before, err := holder.record(holder.owner.Nonce)
		must(t, err)
		synctest.Wait()
		cable.cut.Store(true)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		cable.cut.Store(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		after, err := holder.record(holder.owner.Nonce)
		must(t, err)
		if before.text == after.text {
			t.Error("not renewed again")
		}
		must(t, holder.Close())
	})
}

// A lease is watched from when its record had been read, and not from when that began.
func TestLeaseIsWatchedFromTheEndOfTheLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "j")
		const term = time.Minute
		cable := plug(w.disk)
		holder := on(t, cable, worldDir, Config{Lease: term})
		claim(t, holder)
		synctest.Wait()
		cable.cut.Store(true)
		var slow atomic.Bool
		judge := unreachable(on(t, systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
			if slow.Load() && c.Op == "read" && strings.HasSuffix(c.Path, holder.owner.Nonce) {
				time.Sleep(term)
				slow.Store(false)
			}
			return do()
		}), worldDir, Config{Lease: term}))
		defer judge.Close()
		slow.Store(true)
		judge.Reclaim()
		for i, want := range []int{0, 1} {
			time.Sleep(term - time.Duration(1-i)*time.Second)
			if n, err := judge.Reclaim(); n != want || err != nil {
				t.Errorf("Reclaim = %d, %v; want %d", n, err, want)
			}
		}
		cable.cut.Store(false)
		must(t, holder.Close())
	})
}
