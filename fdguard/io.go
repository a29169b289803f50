// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Read reads at the handle's offset, like [os.File.Read].
func (f *File) Read(p []byte) (int, error) {
	h, err := f.enter("read")
	if err != nil {
		return 0, err
	}
	defer f.leave()
	n := 0
	switch {
	case h.core.regular && h.root():
		n, err = h.core.read(p)
	case h.root():
		n, err = h.core.file.Read(p)
		return n, h.woken("read", err)
	default:
		f.mu.Lock()
		defer f.mu.Unlock()
		n, err = h.core.pread(p, f.off)
		f.off += int64(n)
	}
	switch {
	case err != nil:
		return n, h.core.pathError("read", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// ReadAt reads at off, like [os.File.ReadAt]; it does not move the offset and may
// run concurrently with every other method.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	h, err := f.enter("read")
	if err != nil {
		return 0, err
	}
	var n int
	if h.core.private {
		n, err = h.core.readAt(p, off)
	} else {
		n, err = h.core.file.ReadAt(p, off)
	}
	f.leave()
	return n, err
}

// Write writes at the handle's offset, or at the end in append mode, like
// [os.File.Write].
func (f *File) Write(p []byte) (int, error) {
	h, err := f.enter("write")
	if err != nil {
		return 0, err
	}
	defer f.leave()
	if h.root() {
		n, err := h.core.file.Write(p)
		return n, h.woken("write", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(p) {
		// In append mode, where Clone exists, the kernel ignores the offset and
		// appends; see BUGS in pwrite(2).
		m, err := h.core.pwrite(p[n:], f.off)
		n += m
		f.off += int64(m)
		if err == nil && m == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, h.core.pathError("write", err)
		}
	}
	return n, nil
}

// WriteString is Write for a string.
func (f *File) WriteString(s string) (int, error) { return f.Write([]byte(s)) }

// WriteAt writes at off, like [os.File.WriteAt]; it does not move the offset and
// may run concurrently with every other method. It fails in append mode.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	h, err := f.enter("write")
	if err != nil {
		return 0, err
	}
	n, err := h.core.file.WriteAt(p, off)
	f.leave()
	return n, err
}

// Seek sets the handle's offset, like [os.File.Seek]. That of other holders stays.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	h, err := f.enter("seek")
	if err != nil {
		return 0, err
	}
	defer f.leave()
	if h.root() {
		if h.core.regular {
			offset, err := lseek(h.core.fd, offset, whence)
			if err != nil {
				return 0, h.core.pathError("seek", err)
			}
			return offset, nil
		}
		return h.core.file.Seek(offset, whence)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		size, err := h.core.size()
		if err != nil {
			return 0, h.core.pathError("seek", err)
		}
		offset += size
	default:
		return 0, h.core.pathError("seek", syscall.EINVAL)
	}
	if offset < 0 {
		return 0, h.core.pathError("seek", syscall.EINVAL)
	}
	f.off = offset
	return offset, nil
}

// Stat is [os.File.Stat].
func (f *File) Stat() (fs.FileInfo, error) {
	h, err := f.enter("stat")
	if err != nil {
		return nil, err
	}
	defer f.leave()
	return h.core.file.Stat()
}

// Sync is [os.File.Sync].
func (f *File) Sync() error {
	return f.with("sync", (*os.File).Sync)
}

// Truncate is [os.File.Truncate].
func (f *File) Truncate(size int64) error {
	return f.with("truncate", func(file *os.File) error { return file.Truncate(size) })
}

// SetDeadline is [os.File.SetDeadline].
func (f *File) SetDeadline(t time.Time) error {
	return f.with("set deadline", func(file *os.File) error { return file.SetDeadline(t) })
}

// SetReadDeadline is [os.File.SetReadDeadline].
func (f *File) SetReadDeadline(t time.Time) error {
	return f.with("set deadline", func(file *os.File) error { return file.SetReadDeadline(t) })
}

// SetWriteDeadline is [os.File.SetWriteDeadline].
func (f *File) SetWriteDeadline(t time.Time) error {
	return f.with("set deadline", func(file *os.File) error { return file.SetWriteDeadline(t) })
}

// ReadDir is [os.File.ReadDir].
func (f *File) ReadDir(n int) ([]fs.DirEntry, error) {
	h, err := f.enter("readdir")
	if err != nil {
		return nil, err
	}
	defer f.leave()
	return h.core.file.ReadDir(n)
}

// Readdir is [os.File.Readdir], for [http.File].
//
// [http.File]: https://pkg.go.dev/net/http#File
func (f *File) Readdir(n int) ([]fs.FileInfo, error) {
	h, err := f.enter("readdir")
	if err != nil {
		return nil, err
	}
	defer f.leave()
	return h.core.file.Readdir(n)
}

func (f *File) with(op string, fn func(*os.File) error) error {
	h, err := f.enter(op)
	if err != nil {
		return err
	}
	defer f.leave()
	return fn(h.core.file)
}

// woken says why a blocked operation ended, if Close has woken it.
func (h *holder) woken(op string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if _, closed := h.state(); closed {
			return h.core.pathError(op, fs.ErrClosed)
		}
	}
	return err
}

// A shareability says whether a file can have several holders.
type shareability int8

const (
	unknown shareability = iota
	sharable
	unsharable
	appendOnly
)

// sharable returns nil if clones can have offsets of their own.
func (c *core) sharable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.share == unknown {
		info, err := c.file.Stat()
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			c.share = unsharable
		case !appendsAtOffset && c.appends():
			c.share = appendOnly
		default:
			c.share = sharable
		}
	}
	switch c.share {
	case unsharable:
		return c.pathError("clone", errNotRegular)
	case appendOnly:
		return c.pathError("clone", errAppend)
	}
	return nil
}

var (
	errNotRegular = unsupported("only a regular file has more than one offset")
	errAppend     = unsupported("a file in append mode has one offset on this platform")
)

// An unsupportedError is errors.ErrUnsupported with a reason.
type unsupportedError struct{ reason string }

func unsupported(reason string) error     { return &unsupportedError{reason} }
func (e *unsupportedError) Error() string { return e.reason }
func (e *unsupportedError) Unwrap() error { return errors.ErrUnsupported }
