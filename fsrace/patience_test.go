// SPDX-License-Identifier: MIT

package fsrace

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

// As long as there are signs that others are at work, MkdirAll goes on, for more than
// the number of times after which it gives up without any.
func TestSignsOfLifeKeepMkdirAllGoing(t *testing.T) {
	t.Parallel()
	for name, errno := range map[string]syscall.Errno{
		"made and gone, each time":                     syscall.EEXIST,
		"its parent was a file, and is not, each time": syscall.ENOTDIR,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := systest.NewDisk()
			mkdirAll(d, "/a", 0o755)
			left := 2 * maxIdle
			calls := systest.Wrap(d, func(c systest.Call, do func() error) error {
				if left == 0 || c.Path != "/a/b" {
					return do()
				}
				if c.Op == "mkdir" {
					left--
					return errno
				}
				if errno == syscall.ENOTDIR {
					return errno
				}
				return do()
			})
			if err := mkdirAll(calls, "/a/b", 0o755); err != nil || left > 0 {
				t.Errorf("with %d times left: %v", left, err)
			}
		})
	}
}

// G22: against one who removes all, each time, Create gives up after its patience, and
// not before.
func TestCreateGivesUpInTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := systest.NewDisk()
		c := creator{calls: d}
		start := time.Now()
		err := c.createIn("/a", "/a/f", func(name string) error {
			d.RemoveAll("/a")
			return touch(d)(name)
		})
		if took := time.Since(start); !errors.Is(err, fs.ErrNotExist) || took < patience || took > 2*patience {
			t.Errorf("%v after %v", err, took)
		}
		if err := litter(d); err != nil {
			t.Error(err)
		}
	})
}

// What held the directory was made, though the call said that it was there already.
func TestLostReplyOfTheHolder(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	mkdirAll(d, "/a", 0o755)
	calls := systest.Wrap(d, func(c systest.Call, do func() error) error {
		err := do()
		if c.Op == "create" && err == nil {
			return syscall.EEXIST
		}
		return err
	})
	c := creator{calls: calls}
	if err := c.create("/a/f", syscall.ENOENT, func(name string) error {
		for held := range d.Files() {
			if strings.HasPrefix(held, "/a/"+tempPrefix) {
				return touch(d)(name)
			}
		}
		return errors.New("the directory is not held")
	}); err != nil {
		t.Error(err)
	}
	if err := litter(d); err != nil {
		t.Error(err)
	}
}
