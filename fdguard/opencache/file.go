// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"sync"
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
	entry *entry        // of which only what c.mu guards is looked at
	of    *fdguard.File // what entry kept when clone was made of it
	clone *fdguard.File
	head  *head // what entry knew of the beginning of clone, or nil

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

	mu    sync.Mutex // taken inside, by what moves off
	off   int64      // the clone's own is moved here before it is used
	begun bool       // the last Stat found head to be the file's: Read gives that
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
	_ = f.moving(func(*fdguard.File) error { return nil }) // it goes on where f is
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

// moving runs fn, from inside, with the clone at f's offset, and takes that over.
func (f *file) moving(fn func(*fdguard.File) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.clone.Seek(f.off, io.SeekStart); err != nil {
		return err
	}
	defer func() { f.off, _ = f.clone.Seek(0, io.SeekCurrent) }()
	return fn(f.clone)
}

func (f *file) Name() string { return f.clone.Name() }

func (f *file) Read(p []byte) (n int, err error) {
	if err := f.enter("read"); err != nil {
		return 0, err
	}
	defer f.leave()
	if n, err, ok := f.readHead(p); ok {
		return n, err
	}
	err = f.moving(func(g *fdguard.File) error { n, err = g.Read(p); return err })
	return n, err
}

// readHead reads from the head, if that is in force and reaches as far as the offset.
func (f *file) readHead(p []byte) (n int, err error, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch h := f.head; {
	case !f.begun:
		return 0, nil, false
	case f.off < int64(len(h.bytes)):
		n = copy(p, h.bytes[f.off:])
		f.off += int64(n)
		return n, nil, true
	default:
		return 0, io.EOF, len(p) > 0 && f.off == h.info.Size()
	}
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
	if whence == io.SeekStart && offset >= 0 {
		f.mu.Lock()
		f.off = offset
		f.mu.Unlock()
		return offset, nil
	}
	err := f.moving(func(g *fdguard.File) (err error) { offset, err = g.Seek(offset, whence); return err })
	return offset, err
}

// Stat decides whether the head still is the file's.
func (f *file) Stat() (fs.FileInfo, error) {
	if err := f.enter("stat"); err != nil {
		return nil, err
	}
	defer f.leave()
	if f.head != nil {
		now, err := f.c.sys.stamp(f.clone)
		begun := err == nil && now == f.head.stamp
		f.mu.Lock()
		f.begun = begun
		f.mu.Unlock()
		if begun {
			return f.head.info, nil
		}
	}
	info, err := f.clone.Stat()
	if errors.Is(err, fs.ErrClosed) {
		f.c.drop(f.entry.name, f.of)
	}
	return info, err
}

func (f *file) WriteTo(w io.Writer) (n int64, err error) {
	if err := f.enter("read"); err != nil {
		return 0, err
	}
	defer f.leave()
	err = f.moving(func(g *fdguard.File) error { n, err = g.WriteTo(w); return err })
	return n, err
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

func (r *rawConn) Control(fn func(uintptr)) error {
	return r.do(func(rc syscall.RawConn) error { return rc.Control(fn) })
}

func (r *rawConn) Read(fn func(uintptr) bool) error {
	return r.do(func(rc syscall.RawConn) error {
		return (*file)(r).moving(func(*fdguard.File) error { return rc.Read(fn) })
	})
}

func (r *rawConn) Write(fn func(uintptr) bool) error {
	return r.do(func(rc syscall.RawConn) error { return rc.Write(fn) })
}

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
