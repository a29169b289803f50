// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"syscall"
)

// SyscallConn implements [syscall.Conn]. It is what keeps zero copy: net's
// ReadFrom, and with it http.ServeContent and io.Copy to a TCP connection, finds
// the descriptor through it and calls sendfile(2).
//
// For a Clone, Read lends a private description of the same file, positioned at
// the Clone's offset, because sendfile moves the offset that all holders of one
// description share. Where there can be none, Read fails with an error wrapping
// [errors.ErrUnsupported], upon which net copies instead. Control lends the shared
// descriptor. Write is for the first handle only.
func (f *File) SyscallConn() (syscall.RawConn, error) {
	if _, err := f.enter("SyscallConn"); err != nil {
		return nil, err
	}
	f.leave()
	return (*rawConn)(f), nil
}

type rawConn File

func (r *rawConn) Control(fn func(uintptr)) error {
	f := (*File)(r)
	h, err := f.enter("SyscallConn.Control")
	if err != nil {
		return err
	}
	defer f.leave()
	return h.core.withFD(func(fd uintptr) error { fn(fd); return nil })
}

func (r *rawConn) Read(fn func(uintptr) bool) error {
	f := (*File)(r)
	h, err := f.enter("SyscallConn.Read")
	if err != nil {
		return err
	}
	defer f.leave()
	if !h.root() {
		return f.lend(fn)
	}
	rc, err := h.core.file.SyscallConn()
	if err != nil {
		return err
	}
	return h.woken("read", rc.Read(fn))
}

func (r *rawConn) Write(fn func(uintptr) bool) error {
	f := (*File)(r)
	h, err := f.enter("SyscallConn.Write")
	if err != nil {
		return err
	}
	defer f.leave()
	if !h.root() {
		return h.core.pathError("SyscallConn.Write", errCloneWrite)
	}
	rc, err := h.core.file.SyscallConn()
	if err != nil {
		return err
	}
	return h.woken("write", rc.Write(fn))
}

var (
	errCloneWrite = unsupported("a clone has no description of its own to write to")
	errNotReady   = unsupported("a regular file cannot be waited for")
)

// A lease is a private description of a core's file, in use by one clone at a time.
type lease struct{ fd uintptr }

// maxIdle is how many private descriptions a file keeps for the next clone. Each
// is a descriptor; one more costs an openat(2) per use.
const maxIdle = 4

// lend calls fn with a private description at the clone's offset, and moves that
// to where fn left the description's.
func (f *File) lend(fn func(uintptr) bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.h.core
	l, err := c.lease()
	if err != nil {
		return c.pathError("SyscallConn.Read", err)
	}
	defer c.unlease(l)
	if _, err := lseek(l.fd, f.off, io.SeekStart); err != nil {
		return c.pathError("seek", err)
	}
	ready := fn(l.fd)
	if f.off, err = lseek(l.fd, 0, io.SeekCurrent); err != nil {
		return c.pathError("seek", err)
	}
	if !ready {
		return c.pathError("SyscallConn.Read", errNotReady)
	}
	return nil
}

func (c *core) lease() (l lease, err error) {
	c.mu.Lock()
	if x := c.more(); len(x.idle) > 0 {
		n := len(x.idle) - 1
		l, x.idle = x.idle[n], x.idle[:n]
		c.mu.Unlock()
		return l, nil
	}
	c.mu.Unlock()
	err = c.withFD(func(fd uintptr) (err error) { l.fd, err = c.reg.sys.reopen(fd); return err })
	if err != nil {
		return lease{}, errors.Join(errors.ErrUnsupported, err)
	}
	c.reg.private.Add(1)
	return l, nil
}

// unlease keeps l for the next clone. Its borrower is inside, so that the core
// cannot be freed before.
func (c *core) unlease(l lease) {
	c.mu.Lock()
	if x := c.more(); len(x.idle) < maxIdle {
		x.idle = append(x.idle, l)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.reg.closeLease(l)
}

// takeIdle takes the private descriptions, all of which are idle, since every
// holder is gone; c.mu is held.
func (c *core) takeIdle() (idle []lease) {
	if c.extra != nil {
		idle, c.extra.idle = c.extra.idle, nil
	}
	return idle
}

func (r *registry) closeLeases(idle []lease) {
	for _, l := range idle {
		r.closeLease(l)
	}
}

func (r *registry) closeLease(l lease) {
	closeFD(l.fd)
	r.private.Add(-1)
}

// WriteTo copies from the offset to the end of the file, for [io.Copy]. It keeps
// the system's zero-copy paths: sendfile(2) to TCP and Unix stream sockets,
// and from the first handle copy_file_range(2) to files and splice(2).
func (f *File) WriteTo(w io.Writer) (int64, error) {
	h, err := f.enter("read")
	if err != nil {
		return 0, err
	}
	defer f.leave()
	if h.root() {
		n, err := h.core.file.WriteTo(w)
		return n, h.woken("read", err)
	}
	return io.Copy(w, plainReader{f})
}

// A plainReader has all that net's ReadFrom looks for, and no WriteTo to recurse.
type plainReader struct{ f *File }

func (r plainReader) Read(p []byte) (int, error)            { return r.f.Read(p) }
func (r plainReader) SyscallConn() (syscall.RawConn, error) { return r.f.SyscallConn() }

// ReadFrom copies r's data to the offset, for [io.Copy], with copy_file_range(2)
// or splice(2) where [os.File.ReadFrom] would use them.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	h, err := f.enter("write")
	if err != nil {
		return 0, err
	}
	defer f.leave()
	if h.root() {
		n, err := h.core.file.ReadFrom(r)
		return n, h.woken("write", err)
	}
	return io.Copy(plainWriter{f}, r)
}

type plainWriter struct{ f *File }

func (w plainWriter) Write(p []byte) (int, error) { return w.f.Write(p) }
