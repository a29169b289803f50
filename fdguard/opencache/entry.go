// SPDX-License-Identifier: MIT

package opencache

import (
	"container/list"
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// An entry is what the cache knows about one name. All fields are guarded by
// Cache.mu, and the methods of this file are called with it held unless they say
// otherwise.
type entry struct {
	name    string
	elem    *list.Element   // in Cache.kept if file is set, in Cache.seen if not
	file    *fdguard.File   // the cache's own reference
	idle    []*fdguard.File // clones of file, for lend
	info    fs.FileInfo     // of file, when it was opened
	head    *head           // of file, when it was last looked at; or nil
	dir     fs.FileInfo     // if file is nil: of the directory that name was found to be; or nil
	checked time.Time       // before the call that last found file under name
	used    time.Time
	uses    int
}

// hit returns the entry whose file to share if name is kept and valid, and notes the
// use. If due, the caller has to yield once it has its handle.
func (c *Cache) hit(name string, now time.Time) (e *entry, due bool) {
	e = c.entries[name]
	if e == nil || e.file == nil || c.stale(e, now) {
		return nil, false
	}
	c.touch(e, now)
	c.stats.Hits++
	if due = now.Sub(c.counted) >= recount; due {
		c.counted = now
	}
	return e, due
}

func (c *Cache) stale(e *entry, now time.Time) bool { return now.Sub(e.checked) >= c.cfg.Valid }

// hitDir is hit for a directory whose index page is kept: of such a one, net/http only
// wants to know that it is a directory, before it opens the page. Of any other it wants
// the list, or nothing.
func (c *Cache) hitDir(name string, now time.Time) fs.FileInfo {
	e := c.entries[name]
	if e == nil || e.dir == nil || c.stale(e, now) {
		return nil
	}
	if index := c.entries[path.Join(name, "index.html")]; index == nil || index.file == nil || c.stale(index, now) {
		return nil
	}
	c.touch(e, now)
	c.stats.Hits++
	return e.dir
}

// recount is how often hits look at the reserve.
const recount = 100 * time.Millisecond

func (c *Cache) touch(e *entry, now time.Time) {
	if now.Sub(e.used) >= c.cfg.Inactive { // and the timer is late
		e.uses = 0
	}
	e.used = now
	e.uses++
	if e.file != nil {
		c.kept.MoveToFront(e.elem)
	} else {
		c.seen.MoveToFront(e.elem)
	}
}

// note records a use of name, which was found at now to be what found holds. If the
// name is used enough the cache keeps it, and otherwise gives it up again.
func (c *Cache) note(name string, found found, now time.Time) {
	e := c.entryOf(name)
	c.touch(e, now)
	switch {
	case e.uses < c.cfg.MinUses:
		c.doomed = append(c.doomed, found.own)
		return
	case e.file != nil:
		c.doom(e)
	default:
		c.seen.Remove(e.elem)
		e.elem = c.kept.PushFront(e)
	}
	e.file, e.info, e.head, e.checked = found.own, found.info, found.head, now
}

// noteDir records that name was found at now to be a directory.
func (c *Cache) noteDir(name string, info fs.FileInfo, now time.Time) {
	if e := c.entries[name]; e != nil && e.file != nil {
		c.remove(e)
	}
	e := c.entryOf(name)
	c.touch(e, now)
	e.dir, e.checked = info, now
}

func (c *Cache) entryOf(name string) *entry {
	e := c.entries[name]
	if e == nil {
		e = &entry{name: name}
		e.elem = c.seen.PushFront(e)
		c.entries[name] = e
	}
	return e
}

// remove forgets e.
func (c *Cache) remove(e *entry) {
	delete(c.entries, e.name)
	if e.file == nil {
		c.seen.Remove(e.elem)
		return
	}
	c.kept.Remove(e.elem)
	c.doom(e)
}

// drop forgets file, which was found closed: evicted since, or by a stranger who closed
// its descriptor. It takes the lock itself.
func (c *Cache) drop(name string, file *fdguard.File) {
	c.mu.Lock()
	if e := c.entries[name]; e != nil && e.file == file {
		c.remove(e)
	}
	c.unlock()
}

// doom gives up what e keeps.
func (c *Cache) doom(e *entry) {
	c.doomed = append(append(c.doomed, e.file), e.idle...)
	e.file, e.idle = nil, nil
}

// evict gives up the n files that were used least recently.
func (c *Cache) evict(n int) {
	for ; n > 0 && c.kept.Len() > 0; n-- {
		c.stats.Evicted++
		c.remove(c.kept.Back().Value.(*entry))
	}
}

// trim evicts what is more than Max, or was not used for Inactive, and sets the timer
// for the entry that will be inactive next.
func (c *Cache) trim(now time.Time) {
	c.evict(c.kept.Len() - c.cfg.Max)
	for c.seen.Len() > c.cfg.Max {
		c.remove(c.seen.Back().Value.(*entry))
	}
	next := c.cfg.Inactive
	for _, l := range []*list.List{&c.kept, &c.seen} {
		for back := l.Back(); back != nil; back = l.Back() {
			e := back.Value.(*entry)
			if left := e.used.Add(c.cfg.Inactive).Sub(now); left > 0 {
				next = min(next, left)
				break
			}
			if e.file != nil {
				c.stats.Evicted++
			}
			c.remove(e)
		}
	}
	if c.timer == nil && len(c.entries) > 0 && !c.closed {
		c.timer = time.AfterFunc(next, c.tick)
	}
}

// tick is the timer's. It takes the lock itself.
func (c *Cache) tick() {
	c.mu.Lock()
	c.timer = nil
	c.trim(time.Now())
	c.unlock()
}

// unlock ends a critical section, and then closes what was given up in it: close(2)
// may block.
func (c *Cache) unlock() error {
	doomed := c.doomed
	c.doomed = nil
	c.mu.Unlock()
	var errs []error
	for _, f := range doomed {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
