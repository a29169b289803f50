// SPDX-License-Identifier: MIT

package systest

import (
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// A handle is an open file of a Disk.
type handle struct {
	disk   *Disk
	node   *node
	offset int
	closed bool
}

// use does op under the disk's lock, if h is open.
func (h *handle) use(op func(n *node) error) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return syscall.EBADF
	}
	return op(h.node)
}

func (h *handle) Read(p []byte) (int, error) {
	n, err := h.ReadAt(p, int64(h.offset))
	h.offset += n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (h *handle) ReadAt(p []byte, off int64) (n int, err error) {
	err = h.use(func(f *node) error {
		if off < int64(len(f.data)) {
			n = copy(p, f.data[off:])
		}
		if n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (h *handle) Write(p []byte) (int, error) {
	n, err := h.WriteAt(p, int64(h.offset))
	h.offset += n
	return n, err
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	err := h.use(func(f *node) error {
		h.disk.clock++
		f.mtime = h.disk.clock
		f.data = slices.Clone(f.data)
		for int64(len(f.data)) < off+int64(len(p)) {
			f.data = append(f.data, 0)
		}
		copy(f.data[off:], p)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (h *handle) Truncate(size int64) error {
	return h.use(func(f *node) error {
		f.data = slices.Clone(f.data)
		for int64(len(f.data)) < size {
			f.data = append(f.data, 0)
		}
		f.data = f.data[:size]
		return nil
	})
}

func (h *handle) Stat() (i sys.Info, err error) {
	err = h.use(func(f *node) error { i = f.info(); return nil })
	return i, err
}

func (h *handle) Chmod(perm fs.FileMode) error {
	return h.use(func(f *node) error {
		f.mode = f.mode&fs.ModeType | perm.Perm()
		return nil
	})
}

func (h *handle) Sync() error {
	return h.use(func(f *node) error {
		f.saved = slices.Clone(f.data)
		if f.mode.IsDir() {
			h.disk.save(f)
		}
		return nil
	})
}

func (h *handle) TryLock() error {
	return h.use(func(f *node) error {
		if f.locker != nil && f.locker != h {
			return syscall.EWOULDBLOCK
		}
		f.locker = h
		return nil
	})
}

func (h *handle) Unlock() error {
	return h.use(func(f *node) error {
		if f.locker == h {
			f.locker = nil
		}
		return nil
	})
}

func (h *handle) Close() error {
	return h.use(func(f *node) error {
		h.closed = true
		if f.locker == h {
			f.locker = nil
		}
		return nil
	})
}
