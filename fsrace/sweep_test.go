// SPDX-License-Identifier: MIT

package fsrace

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// In a directory that others may write in, somebody can forge litter of a dead
// process, and swap it for a link while it is swept: what the link leads to stays.
func TestSweepFollowsNoLink(t *testing.T) {
	t.Parallel()
	dead := Self("")
	if dead.BootID == "" {
		t.Skip("no proof of death here")
	}
	dead.Start++ // the PID is in use by another: by us
	dir := t.TempDir()
	shared, victim := filepath.Join(dir, "shared"), filepath.Join(dir, "victim")
	bait, precious := filepath.Join(shared, tempPrefix+dead.String()), filepath.Join(victim, "precious")
	for _, dir := range []string{shared, victim, bait} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(precious, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	swapped := false
	sweep(systest.Wrap(sys.OS{}, func(c systest.Call, do func() error) error {
		err := do()
		if c.Path == bait && !swapped { // the first look at it has been taken
			swapped = true
			os.Remove(bait)
			os.Symlink(victim, bait)
		}
		return err
	}), shared)
	if _, err := os.Stat(precious); err != nil || !swapped {
		t.Errorf("outside of the swept directory: %v; swapped: %t", err, swapped)
	}
}

// G62: litter goes when its owner is certainly dead, and never else.
func TestSweep(t *testing.T) {
	t.Parallel()
	me := Self("")
	if me.BootID == "" {
		t.Skip("no proof of death on this platform")
	}
	dead, alive, unknown := me, me, me
	dead.Start += 1_000_000 // the PID is in use by another: by us
	unknown.BootID = "00000000-0000-0000-0000-000000000000"
	dir := t.TempDir()
	keep := map[string]bool{"f": true, ".fsrace-": true, ".fsrace-junk": true, ".fsrace-pid=0": true, "fsrace-" + dead.String(): true}
	for owner, stays := range map[Owner]bool{dead: false, alive: true, unknown: true} {
		keep[tempPrefix+owner.String()] = stays
		owner.Nonce += "d"
		keep[tempPrefix+owner.String()+"/dir"] = stays
	}
	for name := range keep {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, stays := range keep {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v, want it to stay: %t", name, err, stays)
		}
	}
}

// Sweeping takes a small part of the time, however many writes there are and however
// large the directory is.
func TestSweeperBoundsItsWork(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ names, want int }{{10, 60}, {100_000, 10}} {
		synctest.Test(t, func(t *testing.T) {
			d := systest.NewDisk()
			for i := range tc.names {
				d.Create(fmt.Sprint("/f", i))
			}
			lists := 0
			calls := systest.Wrap(d, func(c systest.Call, do func() error) error { lists++; return do() })
			var s sweeper
			for range 60_000 { // a write each millisecond, for a minute
				s.visit(calls, "/")
				time.Sleep(time.Millisecond)
			}
			if lists < tc.want/2 || lists > tc.want {
				t.Errorf("a directory of %d names was listed %d times in a minute", tc.names, lists)
			}
		})
	}
}

// A process that writes in ever new directories does not remember them all.
func TestSweeperForgets(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	var s sweeper
	for i := range 5000 {
		s.visit(d, fmt.Sprint("/", i))
	}
	if len(s.next) > 1024 {
		t.Errorf("%d directories are remembered", len(s.next))
	}
}
