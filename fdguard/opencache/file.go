// SPDX-License-Identifier: MIT

package opencache

import (
	"io"
	"io/fs"
	"math"
	"net/http"
	"sync/atomic"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A file is what FileSystem and FS give out: a Clone that goes back to its entry, for
// the next caller, instead of being closed. That saves recording the stack of every
// request, which costs as much as open(2). A file that is dropped takes its Clone
// along, and fdguard reports that.
type file struct {
	c     *Cache
	name  string        // of the entry
	of    *fdguard.File // what the entry kept when clone was made of it
	clone *fdguard.File

	// word is the file's whole life, because the clone will be another caller's:
	//
	//	bit 63     closed; set once, never cleared
	//	bit 62     gone: the clone was given back
	//	bits 0-61  operations inside, and refused ones on their way out
	//
	// Invariants:
	//
	//	(1) an operation is inside, and may use clone, only if its own addition
	//	    found closed unset
	//	(2) gone is set once, in a step from {closed, 0} or together with closed
	//	    from {open, 0}: then nobody is inside, and nobody will be
	//	(3) who sets gone, and nobody else, gives the clone back
	word  atomic.Int64
	owned atomic.Bool // set from inside: Guard has given the clone away
}

const (
	closedBit = math.MinInt64
	goneBit   = 1 << 62
)

func (f *file) enter(op string) error {
	if f.word.Add(1) > 0 {
		return nil
	}
	f.leave()
	return &fs.PathError{Op: op, Path: f.clone.Name(), Err: fs.ErrClosed}
}

func (f *file) leave() {
	if f.word.Add(-1) == closedBit && f.word.CompareAndSwap(closedBit, closedBit|goneBit) {
		f.c.takeBack(f)
	}
}

// Close is idempotent. It does not wait for operations in progress.
func (f *file) Close() error {
	for {
		switch v := f.word.Load(); {
		case v < 0:
			return nil
		case v == 0:
			if f.word.CompareAndSwap(0, closedBit|goneBit) {
				return f.c.takeBack(f)
			}
		case f.word.CompareAndSwap(v, v|closedBit):
			return nil
		}
	}
}

// Guard makes fdguard.Wrap see through f. The clone is the wrapper's from then on.
func (f *file) Guard() *fdguard.File {
	if f.enter("wrap") != nil {
		return nil
	}
	defer f.leave()
	f.owned.Store(true)
	return f.clone
}

// with runs fn inside f.
func with[T any](f *file, op string, fn func(*fdguard.File) (T, error)) (v T, err error) {
	if err := f.enter(op); err != nil {
		return v, err
	}
	defer f.leave()
	return fn(f.clone)
}

func (f *file) Name() string { return f.clone.Name() }

func (f *file) Read(p []byte) (int, error) {
	if err := f.enter("read"); err != nil {
		return 0, err
	}
	defer f.leave()
	return f.clone.Read(p)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.enter("read"); err != nil {
		return 0, err
	}
	defer f.leave()
	return f.clone.ReadAt(p, off)
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	if err := f.enter("seek"); err != nil {
		return 0, err
	}
	defer f.leave()
	return f.clone.Seek(offset, whence)
}

func (f *file) Stat() (fs.FileInfo, error) {
	return with(f, "stat", (*fdguard.File).Stat)
}

func (f *file) WriteTo(w io.Writer) (int64, error) {
	return with(f, "read", func(g *fdguard.File) (int64, error) { return g.WriteTo(w) })
}

func (f *file) ReadDir(n int) ([]fs.DirEntry, error) {
	return with(f, "readdir", func(g *fdguard.File) ([]fs.DirEntry, error) { return g.ReadDir(n) })
}

func (f *file) Readdir(n int) ([]fs.FileInfo, error) {
	return with(f, "readdir", func(g *fdguard.File) ([]fs.FileInfo, error) { return g.Readdir(n) })
}

// SyscallConn keeps sendfile(2): see [fdguard.File.SyscallConn].
func (f *file) SyscallConn() (syscall.RawConn, error) {
	if err := f.enter("SyscallConn"); err != nil {
		return nil, err
	}
	f.leave()
	return (*rawConn)(f), nil
}

type rawConn file

func (r *rawConn) do(fn func(syscall.RawConn) error) error {
	f := (*file)(r)
	if err := f.enter("SyscallConn"); err != nil {
		return err
	}
	defer f.leave()
	rc, err := f.clone.SyscallConn()
	if err != nil {
		return err
	}
	return fn(rc)
}

func (r *rawConn) Control(fn func(uintptr)) error {
	return r.do(func(rc syscall.RawConn) error { return rc.Control(fn) })
}

func (r *rawConn) Read(fn func(uintptr) bool) error {
	return r.do(func(rc syscall.RawConn) error { return rc.Read(fn) })
}

func (r *rawConn) Write(fn func(uintptr) bool) error {
	return r.do(func(rc syscall.RawConn) error { return rc.Write(fn) })
}

// maxIdle is how many clones an entry keeps for the next callers. They hold no
// descriptor; it is about as many as are in use at once.
const maxIdle = 8

// lend is Open for a caller that has one file at a time and no use for its own stack.
func (c *Cache) lend(name string) (http.File, error) {
	key, err := c.key(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	c.mu.Lock()
	shared, clone, due := c.hitIdle(key)
	c.mu.Unlock()
	if due {
		defer c.yield()
	}
	if clone != nil {
		if _, err := clone.Seek(0, io.SeekStart); err == nil {
			return &file{c: c, name: key, of: shared, clone: clone}, nil
		}
	}
	if shared != nil {
		if clone, err := shared.Clone(); err == nil {
			return &file{c: c, name: key, of: shared, clone: clone}, nil
		}
	}
	f, err := c.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// takeBack ends the life of f.
func (c *Cache) takeBack(f *file) error {
	if !f.owned.Load() {
		c.mu.Lock()
		if e := c.entries[f.name]; e != nil && e.file == f.of && len(e.idle) < maxIdle {
			e.idle = append(e.idle, f.clone)
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
	}
	return f.clone.Close()
}
