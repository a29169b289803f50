// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A system is what a Cache asks of the operating system. Each Cache has its own, so
// that a test can make a call fail, or wait, for one Cache alone.
type system struct {
	open func(name string) (*os.File, error)
	stat func(name string) (fs.FileInfo, error)
	// stamp is fstat(2); a file that was changed less than rest ago is not at rest.
	stamp func(f *fdguard.File) (stamp, error)
	rest  time.Duration
	// descriptors returns how many the process may have and how many it has open;
	// ok is false where that is not known.
	descriptors func() (limit, open int, ok bool)
}

func systemOf(root *os.Root) system {
	return system{
		// Without O_NONBLOCK, opening a FIFO waits for a writer.
		open:        func(name string) (*os.File, error) { return root.OpenFile(name, os.O_RDONLY|nonblock, 0) },
		stat:        root.Stat,
		stamp:       stampOf,
		rest:        rest,
		descriptors: descriptors,
	}
}

// openFile opens name, at the expense of kept files if need be. The file is the
// caller's. No lock is held.
func (c *Cache) openFile(name string) (*fdguard.File, fs.FileInfo, error) {
	c.giveUp(c.short() + 1)
	f, err := c.sys.open(name)
	exhausted := uint64(0)
	for n, left := 1, true; isExhausted(err) && left; n *= 2 {
		exhausted++
		left = c.giveUp(n)
		f, err = c.sys.open(name)
	}
	c.mu.Lock()
	c.stats.Misses++
	c.stats.Exhausted += exhausted
	c.mu.Unlock()
	if err != nil {
		return nil, nil, escaping(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	guarded, err := fdguard.Wrap(f)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return guarded, info, nil
}

// ErrEscapes is the error of an Open that a symbolic link would lead out of the root.
var ErrEscapes = errors.New("opencache: name leads out of the root")

// escaping adds ErrEscapes to the error of os.Root that has no sentinel: the only one
// that is neither the system's nor one of package fs.
func escaping(err error) error {
	_, isErrno := errors.AsType[syscall.Errno](err)
	if isErrno || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrClosed) || errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrEscapes, err)
}

// giveUp evicts n files and reports whether any are left.
func (c *Cache) giveUp(n int) (left bool) {
	c.mu.Lock()
	c.evict(n)
	left = c.kept.Len() > 0
	c.unlock()
	return left
}

// yield gives up files until the process has its reserve, and no more of them than the
// descriptors that were lacking: of one in use, none is closed by that.
func (c *Cache) yield() {
	for lacking := c.short(); lacking > 0 && c.giveUp(1) && c.short() > 0; lacking-- {
	}
}

func isExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// short returns how many descriptors the process lacks to have the reserve: negative
// if it has some to spare.
func (c *Cache) short() int {
	if c.cfg.Reserve < 0 {
		return math.MinInt32
	}
	limit, open, ok := c.sys.descriptors()
	if !ok {
		return math.MinInt32
	}
	reserve := c.cfg.Reserve
	if reserve == 0 {
		reserve = limit / 4
	}
	return reserve - (limit - open)
}
