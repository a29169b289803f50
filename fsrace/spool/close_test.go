// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

func TestCloseGivesBackWhatNobodyNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	s, other := w.open(t, Config{}), w.open(t, Config{})
	lie := true
	s.through(stale{systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
		err := do()
		if lie && c.Op == "rename" && err == nil {
			return syscall.ENOENT
		}
		return err
	}), func(name string) bool { return lie && strings.Contains(name, claimedPart+"/") }})
	if _, err := s.TryClaim(); err != ErrEmpty {
		t.Fatalf("TryClaim = %v", err)
	}
	lie = false
	must(t, s.Close())
	if c := claim(t, other); c.Attempt() != 1 {
		t.Errorf("attempt %d, want 1", c.Attempt())
	}
}

func TestCloseWakesSleepingClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t).open(t, Config{Rescan: time.Hour})
		errs := make(chan error)
		for range 3 {
			go func() { _, err := s.Claim(t.Context()); errs <- err }()
		}
		synctest.Wait()
		before := time.Now()
		must(t, s.Close())
		for range 3 {
			if err := <-errs; !errors.Is(err, fs.ErrClosed) {
				t.Errorf("Claim = %v, want fs.ErrClosed", err)
			}
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("woken after %v", took)
		}
	})
}

func TestCloseThatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	cable := plug(w.disk)
	s := on(t, cable, worldDir, Config{})
	claim(t, s)
	cable.cut.Store(true)
	for range 2 {
		if err := s.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Close = %v, want EIO", err)
		}
	}
}
