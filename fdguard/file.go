// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"
)

// A File is one holder's handle on an open file. It has the methods of an
// [os.File] but Fd: the number is lent by [File.Do], for as long as it is sure to
// mean this file.
//
// The first handle, from [Open], [OpenFile], [Wrap] or [Adopt], reads and writes
// at the descriptor's own offset. A Clone has its own offset, starting at zero.
//
// A File must not be copied; make a Clone. A handle that becomes unreachable
// without Close is a leak: it is closed by and by, and reported (see [OnLeak]).
type File struct {
	_ noCopy
	h *holder
	// self is the File as it was made, which is what the leak detection
	// watches: a copy, though forbidden, keeps it alive.
	self    *File
	cleanup runtime.Cleanup // the watch on self; none if it is not in the table

	mu  sync.Mutex // serializes what moves off
	off int64      // a Clone's offset; the first handle uses the description's
}

// noCopy makes go vet complain of copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// ErrInUse is the error of [File.Detach] if the file has other holders or an
// operation is inside.
var ErrInUse = errors.New("fdguard: file has other holders or operations in progress")

// An OwnedError says that a descriptor number has an owner already.
type OwnedError struct {
	FD     uintptr
	Name   string    // of the first owner
	Stack  Stack     // where the first owner opened; nil below level Stacks
	Opened time.Time // and when
}

func (e *OwnedError) Error() string {
	s := fmt.Sprintf("fdguard: descriptor %d is owned already, by %q since %s", e.FD, e.Name, e.Opened.Format(time.RFC3339))
	if len(e.Stack) > 0 {
		s += ", opened by " + e.Stack[0].String()
	}
	return s
}

// Open opens the named file for reading, like [os.Open].
func Open(name string) (*File, error) {
	return std.open(name, os.O_RDONLY, 0)
}

// OpenFile opens the named file, like [os.OpenFile]. The descriptor is
// close-on-exec and never one of the three standard ones. Errors are of type
// [*fs.PathError].
func OpenFile(name string, flag int, perm fs.FileMode) (*File, error) {
	return std.open(name, flag, perm)
}

// Wrap makes f a guarded file and takes ownership of it: f itself must not be
// used or closed any more. Wrap is an identity and never adds a reference:
//
//   - a [*File], or anything whose Guard method leads to one, gives that very
//     handle; [File.Guard] is promoted by embedding, so that wrappers of a File
//     are seen through
//   - an [*os.File] gives a new handle the first time and the same one from then
//     on, until it is closed
//
// Wrap returns an error wrapping [fs.ErrClosed] if f, or the handle it would
// give, is closed; [*OwnedError] if f's descriptor number belongs to another
// guarded file, unless that has provably lost it; and one wrapping
// [errors.ErrUnsupported] if f has no descriptor that Wrap could find. On error, f
// remains the caller's.
func Wrap(f fs.File) (*File, error) {
	if g, ok := f.(*File); ok { // the commonest case, and cheapest
		return g.wrapped()
	}
	return std.wrap(f)
}

func (f *File) wrapped() (*File, error) {
	if f == nil || f.h == nil {
		return nil, fs.ErrInvalid
	}
	if f.h.word.Load() < 0 {
		return nil, f.h.core.pathError("wrap", fs.ErrClosed)
	}
	return f.self, nil
}

// Guard returns f. It is how [Wrap] sees through wrappers: embedding a *File
// promotes it, and a wrapper that keeps its File elsewhere can declare it.
func (f *File) Guard() *File { return f }

// Adopt makes an open descriptor a guarded file, and takes ownership of the
// number: it is made close-on-exec, and nobody else may close it. The name is for
// people. If the descriptor is in non-blocking mode, operations use the poller,
// as with [os.NewFile].
//
// Adopt returns [*OwnedError] if the number belongs to a guarded file, and an
// error of type [*fs.PathError] if it is not open. On error, the number remains
// the caller's. Files opened at level Off are not known to it.
func Adopt(fd uintptr, name string) (*File, error) {
	return std.adopt(fd, name)
}

// Clone adds a holder: a handle with its own Close, its own offset (at the
// beginning) and its own opening stack. Clones may be read concurrently. They
// share the descriptor, and it stays open until the last of them is closed.
//
// Only regular files can be cloned; for all others, whose data can be read but
// once, the error wraps [errors.ErrUnsupported]. Outside Linux the same holds for
// files in append mode. It wraps [fs.ErrClosed] if f is closed, even if other
// holders live.
func (f *File) Clone() (*File, error) {
	h, err := f.enter("clone")
	if err != nil {
		return nil, err
	}
	defer f.leave()
	c := h.core
	c.reg.step("clone")
	if err := c.sharable(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.holders++
	c.mu.Unlock()
	g := c.newFile(new(holder))
	if c.tracked {
		g.track(c.reg.capture())
		c.reg.table.add(g.h)
		c.note("clone", g.h.stack)
	}
	return g, nil
}

// Close closes this handle. It is idempotent: from the second time on it does
// nothing and returns nil. If no other holder is left the descriptor is closed,
// and Close returns the error of that; other holders get nil.
//
// Close does not wait. If operations of this handle are in progress, the
// descriptor is closed when the last of them returns, and an error of that is
// logged. Operations blocked on a pipe, socket or other pollable file are woken
// and fail with [fs.ErrClosed].
func (f *File) Close() error {
	if f == nil || f.h == nil {
		return fs.ErrInvalid
	}
	h, c := f.h, f.h.core
	first, drop := h.close()
	if !first {
		if c.reg.level() >= Paranoid {
			c.misuse(DoubleClose, h)
		}
		return nil
	}
	f.untrack()
	c.note("close", nil)
	if drop {
		return c.drop(h)
	}
	if c.alone() {
		// Not pollable: nothing to wake, or no means to.
		_ = c.file.SetDeadline(time.Unix(1, 0))
	}
	return nil
}

// Do lends the descriptor's number to fn and returns fn's error. Until fn returns
// the number means this file: it is neither closed nor reused, even if every
// holder closes meanwhile. fn must not close it, nor keep it. It has the file's
// blocking mode unchanged, and for a Clone, an offset that is not the Clone's.
//
// The error wraps [fs.ErrClosed], and fn is not called, if f is closed.
func (f *File) Do(fn func(fd uintptr) error) error {
	h, err := f.enter("do")
	if err != nil {
		return err
	}
	defer f.leave()
	return h.core.withFD(fn)
}

// Detach ends the guard's ownership and returns the bare file, which the caller
// now has to close. The offset is the handle's. f is closed by it.
//
// It returns [ErrInUse] if there are other holders or operations in progress, and
// an error wrapping [fs.ErrClosed] if f is closed; the file stays guarded then.
func (f *File) Detach() (*os.File, error) {
	if f == nil || f.h == nil {
		return nil, fs.ErrInvalid
	}
	h, c := f.h, f.h.core
	c.mu.Lock()
	// A Clone in progress is inside, so that the swap fails; a later one finds
	// h closed; and there is no other holder to clone.
	switch {
	case h.word.Load() < 0:
		c.mu.Unlock()
		return nil, c.pathError("detach", fs.ErrClosed)
	case c.holders > 1 || !h.word.CompareAndSwap(0, closedBit|goneBit):
		c.mu.Unlock()
		return nil, c.pathError("detach", ErrInUse)
	}
	c.holders = 0
	idle := c.takeIdle()
	c.mu.Unlock()
	f.untrack()
	c.reg.closeLeases(idle)
	c.reg.table.remove(h)
	if c.lost() {
		return nil, c.disown("detach", h)
	}
	if !h.root() {
		if _, err := c.file.Seek(f.off, io.SeekStart); err != nil {
			return c.file, err
		}
	}
	return c.file, nil
}

// Name returns the name f was opened, wrapped or adopted under.
func (f *File) Name() string { return f.h.core.name }

// enter begins an operation; leave must follow if it succeeds.
func (f *File) enter(op string) (*holder, error) {
	if f == nil || f.h == nil {
		return nil, fs.ErrInvalid
	}
	h := f.h
	if !h.acquire() {
		if h.core.reg.level() >= Paranoid {
			h.core.misuse(UseAfterClose, h)
		}
		return nil, h.core.pathError(op, fs.ErrClosed)
	}
	if h.core.stolen.Load() {
		f.leave()
		return nil, h.core.pathError(op, errStranger)
	}
	return h, nil
}

// leave ends an operation. Until then f has to be reachable, or it might be
// taken for a leak while in use.
func (f *File) leave() {
	f.h.release()
	runtime.KeepAlive(f)
}

// dropped runs when the handle has become unreachable without Close.
func (h *holder) dropped() {
	first, drop := h.close()
	if !first {
		return
	}
	c := h.core
	c.note("dropped", nil)
	c.reg.report(Leak{Kind: Dropped, Name: c.name, Stack: h.stack.resolve(), Holders: c.count(), Age: h.age(), History: c.events()})
	if drop {
		c.dropLate(h)
	}
}

// count returns the number of holders.
func (c *core) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.holders)
}

func (c *core) alone() bool { return c.count() == 1 }

func (c *core) pathError(op string, err error) error {
	return &fs.PathError{Op: op, Path: c.name, Err: err}
}
