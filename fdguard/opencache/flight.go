// SPDX-License-Identifier: MIT

package opencache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// errNotShared tells a caller that the file it waited for is not one to share.
var errNotShared = errors.New("opencache: not a file to share")

// A flight is one open, or one look whether a kept file still is the one of its
// name, and the callers who wait for it.
//
// Invariants, under Cache.mu:
//
//	(1) refs counts the callers inside, plus one until the flight has landed
//	(2) a name has at most one flight that has not landed
//	(3) who takes refs to zero closes file, so that it outlives every caller's
//	    Clone of it, and a caller who gave up leaves nothing behind
type flight struct {
	name string
	old  *fdguard.File // what is kept under name, or nil
	info fs.FileInfo   // of old

	refs   int
	landed chan struct{}
	found  // set before landed is closed; file under (3)
}

// found is what a flight comes back with.
type found struct {
	file   *fdguard.File // to share, or for one caller only
	shared bool
	err    error

	same bool          // file is a clone of what was kept
	own  *fdguard.File // else, if the cache may keep it, its reference
	info fs.FileInfo   // of own
	head *head         // of the file that is shared, or nil
	dir  fs.FileInfo   // of file, if that is a directory
}

// board joins the flight for name, or makes one, which the caller then has to fly.
// Cache.mu is held.
func (c *Cache) board(name string) (fl *flight, first bool) {
	if fl := c.flights[name]; fl != nil {
		fl.refs++
		c.stats.Shared++
		return fl, false
	}
	fl = &flight{name: name, refs: 2, landed: make(chan struct{})}
	if e := c.entries[name]; e != nil {
		fl.old, fl.info = e.file, e.info
	}
	c.flights[name] = fl
	return fl, true
}

// fly makes the system calls and lands.
func (c *Cache) fly(fl *flight) {
	start := time.Now() // what is found was the file of its name no earlier than this
	found := c.look(fl, start)

	c.mu.Lock()
	delete(c.flights, fl.name)
	fl.found = found
	e := c.entries[fl.name]
	switch {
	case found.same:
		c.stats.Revalidated++
		if e != nil && e.file == fl.old {
			e.checked, e.head = start, found.head
			c.touch(e, start)
		}
	case found.own != nil && !c.closed:
		c.note(fl.name, found, start)
	case found.own != nil:
		c.doomed = append(c.doomed, found.own)
	case found.dir != nil && !c.closed:
		c.noteDir(fl.name, found.dir, start)
	case e != nil:
		c.remove(e)
	}
	if fl.old != nil && !found.same {
		c.stats.Replaced++
	}
	c.trim(start)
	c.leave(fl)
	close(fl.landed)
	c.unlock()
}

func (c *Cache) look(fl *flight, now time.Time) found {
	if fl.old != nil && c.unchanged(fl) {
		if file, err := fl.old.Clone(); err == nil {
			return found{file: file, shared: true, same: true, head: c.readHead(file, now)}
		}
	}
	file, info, err := c.openFile(fl.name)
	switch {
	case err != nil:
		return found{err: err}
	case info.IsDir():
		return found{file: file, dir: info}
	case !info.Mode().IsRegular():
		return found{file: file}
	}
	if c.short() > 0 { // nothing was left to give up
		return found{file: file, shared: true}
	}
	clone, err := file.Clone()
	if err != nil {
		return found{file: file} // the file system has files that cannot be shared
	}
	return found{file: clone, shared: true, own: file, info: info, head: c.readHead(file, now)}
}

// unchanged reports whether fl.old is the file of its name, and may still be read by
// whom it could be when it was opened.
func (c *Cache) unchanged(fl *flight) bool {
	info, err := c.sys.stat(fl.name)
	return err == nil && os.SameFile(fl.info, info) && sameAccess(fl.info, info)
}

// await waits until the flight has landed, or ctx is done, and leaves it with a
// handle of the caller's own.
func (c *Cache) await(ctx context.Context, fl *flight) (*fdguard.File, error) {
	select {
	case <-fl.landed:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.unlock()
	defer c.leave(fl)
	select {
	case <-fl.landed: // a result is preferred to a late cancellation
	default:
		return nil, context.Cause(ctx)
	}
	switch {
	case fl.err != nil:
		return nil, fl.err
	case fl.shared && fl.refs > 1:
		return fl.file.Clone()
	case fl.file == nil:
		return nil, errNotShared // somebody else has it
	}
	f := fl.file
	fl.file = nil
	return f, nil
}

// leave gives back one reference. Cache.mu is held.
func (c *Cache) leave(fl *flight) {
	fl.refs--
	if fl.refs == 0 && fl.file != nil {
		c.doomed = append(c.doomed, fl.file)
		fl.file = nil
	}
}
