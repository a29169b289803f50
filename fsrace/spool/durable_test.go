// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

func TestDoneWhoseSyncFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	s := w.open(t, Config{Durable: true})
	c := claim(t, s)
	syncs := 0
	s.through(systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
		if c.Op == "syncdir" {
			if syncs++; syncs == 1 {
				return syscall.EIO
			}
		}
		return do()
	}))
	if err := c.Done(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Done = %v, want EIO", err)
	}
	must(t, c.Done())
	if syncs != 2 {
		t.Errorf("the second Done returned nil after %d syncs, want its own", syncs)
	}
	must(t, w.disk.EachCrash(func(after *systest.Disk) error {
		places, err := where(after)
		if err != nil || !slices.Equal(places["j"], []string{donePart}) {
			return fmt.Errorf("after a power failure the job is in %q, %v", places["j"], err)
		}
		return nil
	}))
	must(t, s.Close())
}

func TestPowerFailureAfterPutInANewSpool(t *testing.T) {
	t.Parallel()
	disk := systest.NewDisk()
	must(t, disk.Mkdir("/srv", 0o755))
	must(t, disk.Mkdir("/srv"+worldDir, 0o755))
	s := on(t, disk, "/srv"+worldDir, Config{})
	put(t, s, "j")
	must(t, disk.EachCrash(func(after *systest.Disk) error {
		for name, data := range after.Files() {
			if strings.HasPrefix(name, "/srv"+worldDir+"/new/j~") && data == "content of j" {
				return nil
			}
		}
		return fmt.Errorf("the job that was put is lost; left: %v", after.Files())
	}))
}

func TestPutOfAJobThatIsClaimedAtOnce(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"rename", "syncdir"} {
		w := newWorld(t)
		s, other := w.open(t, Config{}), w.open(t, Config{})
		for _, part := range parts {
			must(t, w.disk.SyncDir(worldDir+"/"+part))
		}
		first := true
		s.through(systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
			if c.Op != op || !first {
				return do()
			}
			first = false
			if op == "rename" {
				must(t, do())
			}
			claim(t, other)
			return syscall.ENOENT
		}))
		err := s.Put("k", strings.NewReader("content of k"))
		if (op == "rename") != (err == nil) {
			t.Errorf("reply to %s lost: Put = %v", op, err)
		}
		if err == nil {
			must(t, w.disk.EachCrash(func(after *systest.Disk) error { return once(after, "k") }))
		}
	}
}

func TestErrorsNameTheJobOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	s := w.open(t, Config{})
	c := claim(t, s)
	looks := 0
	s.through(systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
		switch {
		case c.Op == "rename":
			do()
			return syscall.EIO
		case c.Op == "lstat" && looks < 1:
			looks++
			return syscall.EIO
		}
		return do()
	}))
	if err := c.Done(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Done = %v", err)
	}
	s.through(w.disk)
	err := c.Release()
	if want := `spool: release "j": the claim has ended with done: file already closed`; err == nil || err.Error() != want {
		t.Errorf("Release = %v, want %s", err, want)
	}
}
