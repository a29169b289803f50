// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"
)

// A core is one open descriptor, shared by its holders.
//
// Invariants:
//
//	(1) holders counts the holders that are not gone; it starts at one and grows
//	    only in Clone, which is inside a holder, and so never from zero
//	(2) so it reaches zero once; whoever takes it there, and nobody else, frees
//	    the core, or has taken the file out by Detach
//	(3) while it is not zero, fd is ours, unless a stranger closed it
type core struct {
	reg     *registry
	file    *os.File
	fd      uintptr
	name    string
	private bool // nobody else has ever seen file
	regular bool // private, and known to be a regular file
	tracked bool // in the table, as are all its holders
	id      fileID
	origin  holder // the first, of the handle that made the core

	stolen atomic.Bool // a stranger closed fd and the number came back to us

	mu      sync.Mutex
	holders int32
	share   shareability // as found by the first Clone
	extra   *extra       // nil as long as neither is needed

	root  weak.Pointer[File] // the handle Wrap answers with; under the shard's lock
	first *holder            // the holders; under the shard's lock
}

// extra is what few cores need.
type extra struct {
	idle    []lease // private descriptions, for clones to send from
	history []event // the latest, at Paranoid
}

// more returns c.extra; c.mu is held.
func (c *core) more() *extra {
	if c.extra == nil {
		c.extra = new(extra)
		if !c.tracked {
			// If the holders are dropped, this alone hears of it.
			r := c.reg
			runtime.AddCleanup(c, func(x *extra) { r.closeLeases(x.idle) }, c.extra)
		}
	}
	return c.extra
}

// drop gives one holder's reference back and closes the descriptor with the last.
func (c *core) drop(h *holder) error {
	// Each holder leaves the table before it stops counting, so that the number
	// has left before the last one closes it and the kernel gives it out again.
	c.reg.table.remove(h)
	c.mu.Lock()
	c.holders--
	last := c.holders == 0
	var idle []lease
	if last {
		idle = c.takeIdle()
	}
	c.mu.Unlock()
	c.reg.step("dropped")
	if !last {
		return nil
	}
	c.reg.closeLeases(idle)
	return c.free(h)
}

// dropLate is drop for when the holder's Close has returned already.
func (c *core) dropLate(h *holder) {
	if err := c.drop(h); err != nil {
		c.reg.logger().Error("fdguard: closing failed after Close had returned", "name", c.name, "err", err)
	}
}

// free closes the descriptor. The number leaves the table first: the instant it
// is closed, it may be another's.
func (c *core) free(h *holder) error {
	stranger := c.lost()
	c.reg.step("free")
	if stranger {
		return c.disown("close", h)
	}
	err := c.reg.sys.close(c.file)
	if !c.private && errors.Is(err, fs.ErrClosed) {
		c.reportStranger(h)
	}
	return err
}

// disown gives a lost descriptor up. Closing it would hit whoever has the number
// now, and so would the finalizer of file: it has to stay reachable for good.
func (c *core) disown(op string, h *holder) error {
	c.reg.abandon(c.file)
	c.reportStranger(h)
	return c.pathError(op, errStranger)
}

func (c *core) reportStranger(h *holder) {
	c.reg.report(Leak{Kind: StrangerClosed, Name: c.name, Stack: h.stack.resolve(), Age: h.age(), History: c.events()})
}

// errStranger is the error of a descriptor that was closed, and its number reused,
// behind the guard.
var errStranger = fmt.Errorf("fdguard: descriptor was closed by a stranger: %w", fs.ErrClosed)

// lost reports whether the descriptor is known to be no longer ours.
func (c *core) lost() bool {
	if c.stolen.Load() {
		return true
	}
	if c.reg.level() < Paranoid || c.id == (fileID{}) {
		return false
	}
	if !c.private {
		// Through the file: if it was closed as a file, it says so itself.
		var lost bool
		err := c.withFD(func(fd uintptr) error { lost = c.reg.sys.identify(fd) != c.id; return nil })
		return err == nil && lost
	}
	return c.reg.sys.identify(c.fd) != c.id
}

// replaced reports whether c, whose number somebody else has open, has certainly
// lost it.
func (c *core) replaced() bool {
	if !c.private {
		return c.withFD(func(uintptr) error { return nil }) != nil
	}
	id := c.reg.sys.identify(c.fd)
	return c.id != (fileID{}) && id != (fileID{}) && id != c.id
}

// withFD runs fn with the number, from inside a holder. A file that others have
// seen is asked for it each time: they may have closed it.
func (c *core) withFD(fn func(fd uintptr) error) error {
	if c.private {
		return fn(c.fd)
	}
	rc, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = fn(fd) }); err != nil {
		// Closed by its former owner. The error of package poll for it is none
		// that anybody could test for.
		return c.pathError("use", fs.ErrClosed)
	}
	return ferr
}
