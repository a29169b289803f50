// SPDX-License-Identifier: MIT

package fdguard

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// A table holds the cores by descriptor number, and with each its holders.
//
// Invariants, under the shard's lock:
//
//	(1) at(fd) is the one core that owns fd; it is set before the first handle
//	    is given out and removed before fd is closed
//	(2) a core is there as long as it has holders in its list, unless another
//	    core has taken its number (then it is stolen, and in strays)
type table struct {
	shards [shards]shard // by number modulo shards
}

const shards = 64

type shard struct {
	mu      sync.Mutex
	low     []*core           // the number's core, at number / 64
	high    map[uintptr]*core // for those who raised fs.nr_open, and Windows handles
	strays  map[*core]struct{}
	handles int // holders
	files   int // cores
}

const lowLimit = 1 << 20

// at returns the core that owns fd, or nil.
func (s *shard) at(fd uintptr) *core {
	if fd >= lowLimit {
		return s.high[fd]
	}
	if i := fd / shards; i < uintptr(len(s.low)) {
		return s.low[i]
	}
	return nil
}

// set makes c the owner of fd; nil: nobody.
func (s *shard) set(fd uintptr, c *core) {
	switch i := fd / shards; {
	case fd < lowLimit:
		for i >= uintptr(len(s.low)) {
			s.low = append(s.low, nil)
		}
		s.low[i] = c
	case c == nil:
		delete(s.high, fd)
	default:
		if s.high == nil {
			s.high = make(map[uintptr]*core)
		}
		s.high[fd] = c
	}
}

func (t *table) shard(fd uintptr) *shard { return &t.shards[fd%shards] }

// claim enters a core whose number the kernel has just given us. If the table
// thinks that it is another's, that one lost it to a stranger's close.
func (t *table) claim(c *core, h *holder) {
	s := t.shard(c.fd)
	s.mu.Lock()
	if old := s.at(c.fd); old != nil {
		s.evict(old)
	}
	s.insert(c, h)
	s.mu.Unlock()
}

// evict takes the number from c, which has lost it, for its new owner.
func (s *shard) evict(c *core) {
	c.stolen.Store(true)
	if s.strays == nil {
		s.strays = make(map[*core]struct{})
	}
	s.strays[c] = struct{}{}
	s.set(c.fd, nil)
}

// claimOrGet enters f's core, whose number may be another's. It returns f on
// success, and what [shard.owner] says otherwise.
func (t *table) claimOrGet(f *File) (*File, error) {
	c := f.h.core
	s := t.shard(c.fd)
	s.mu.Lock()
	defer s.mu.Unlock()
	if g, err := s.owner(c.fd, c.file); g != nil || err != nil {
		return g, err
	}
	s.insert(c, f.h)
	return f, nil
}

// owner returns the handle of file, which has the number fd open; [*OwnedError] if
// another file owns the number; nil if nobody does, or one that has lost it.
func (t *table) owner(fd uintptr, file *os.File) (*File, error) {
	s := t.shard(fd)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner(fd, file)
}

func (s *shard) owner(fd uintptr, file *os.File) (*File, error) {
	c := s.at(fd)
	if c == nil {
		return nil, nil
	}
	if c.private || c.file != file {
		if c.replaced() {
			s.evict(c)
			return nil, nil
		}
		return nil, &OwnedError{FD: fd, Name: c.name, Stack: c.origin.stack.resolve(), Opened: started.Add(time.Duration(c.origin.opened))}
	}
	f := c.root.Value()
	if f == nil { // dropped, and about to be closed
		return nil, c.pathError("wrap", fs.ErrClosed)
	}
	return f.wrapped()
}

func (s *shard) insert(c *core, h *holder) {
	s.set(c.fd, c)
	s.files++
	s.link(h)
}

// add enters a further holder of a core in the table.
func (t *table) add(h *holder) {
	s := t.shard(h.core.fd)
	s.mu.Lock()
	s.link(h)
	s.mu.Unlock()
}

// remove takes a holder out, and its core with the last one.
func (t *table) remove(h *holder) {
	c := h.core
	if !c.tracked {
		return
	}
	s := t.shard(c.fd)
	s.mu.Lock()
	s.unlink(h)
	if c.first == nil {
		if s.at(c.fd) == c {
			s.set(c.fd, nil)
		} else {
			delete(s.strays, c)
		}
		s.files--
	}
	s.mu.Unlock()
}

// count returns how many holders, of how many cores, are in the table.
func (t *table) count() (handles, files int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		handles += s.handles
		files += s.files
		s.mu.Unlock()
	}
	return handles, files
}

// each calls fn for every holder, under its shard's lock.
func (t *table) each(fn func(h *holder)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, c := range s.low {
			c.each(fn)
		}
		for _, c := range s.high {
			c.each(fn)
		}
		for c := range s.strays {
			c.each(fn)
		}
		s.mu.Unlock()
	}
}

// each calls fn for the core's holders in the table.
func (c *core) each(fn func(h *holder)) {
	if c == nil {
		return
	}
	for h := c.first; h != nil; h = h.next {
		fn(h)
	}
}

func (s *shard) link(h *holder) {
	c := h.core
	h.next = c.first
	if c.first != nil {
		c.first.prev = h
	}
	c.first = h
	s.handles++
	if p := c.reg.profile.public; p != nil {
		p.Add(h, 2)
	}
}

func (s *shard) unlink(h *holder) {
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		h.core.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	h.prev, h.next = nil, nil
	s.handles--
	if p := h.core.reg.profile.public; p != nil {
		p.Remove(h)
	}
}
