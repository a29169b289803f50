// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A system is what a Cache asks of the operating system. Each Cache has its own, so
// that a test can make a call fail, or wait, for one Cache alone.
type system struct {
	open func(name string) (*os.File, error)
	stat func(name string) (fs.FileInfo, error)
	// descriptors returns how many the process may have and how many it has open;
	// ok is false where that is not known.
	descriptors func() (limit, open int, ok bool)
}

func systemOf(root *os.Root) system {
	return system{
		// Without O_NONBLOCK, opening a FIFO waits for a writer.
		open:        func(name string) (*os.File, error) { return root.OpenFile(name, os.O_RDONLY|nonblock, 0) },
		stat:        root.Stat,
		descriptors: descriptors,
	}
}

// openFile opens name, at the expense of kept files if need be. The file is the
// caller's. No lock is held.
func (c *Cache) openFile(name string) (*fdguard.File, fs.FileInfo, error) {
	if short := c.reserve(); short > 0 {
		c.giveUp(short)
	}
	f, err := c.sys.open(name)
	for n := 1; isExhausted(err); n *= 2 {
		left := c.giveUp(n)
		f, err = c.sys.open(name)
		if !left {
			break
		}
	}
	c.mu.Lock()
	c.stats.Misses++
	c.mu.Unlock()
	if err != nil {
		return nil, nil, err
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

// giveUp evicts n files and reports whether any are left.
func (c *Cache) giveUp(n int) (left bool) {
	c.mu.Lock()
	c.evict(n)
	left = c.kept.Len() > 0
	c.unlock()
	return left
}

func isExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// roomy reports whether the process can spare a descriptor for the cache.
func (c *Cache) roomy() bool { return c.reserve() <= 0 }

// reserve returns how many descriptors are missing in the reserve.
func (c *Cache) reserve() (short int) {
	if c.cfg.Reserve < 0 {
		return 0
	}
	limit, open, ok := c.sys.descriptors()
	if !ok {
		return 0
	}
	reserve := c.cfg.Reserve
	if reserve == 0 {
		reserve = limit / 4
	}
	return reserve - (limit - open)
}
