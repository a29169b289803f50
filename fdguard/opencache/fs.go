// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
	"time"
)

// FileSystem returns the cache for [http.FileServer]. Its files keep sendfile(2),
// which [http.FS] and so [http.FileServerFS] hide. Where [http.Dir] follows a
// symbolic link out of its directory, this gives "not found".
//
// For a file at rest, what Read gives of the first 512 bytes is what they were at the
// last Stat: both come from memory when fstat(2) finds the file unchanged.
func (c *Cache) FileSystem() http.FileSystem { return fileSystem{c} }

type fileSystem struct{ c *Cache }

func (s fileSystem) Open(name string) (http.File, error) {
	f, err := s.c.lend(name, true)
	if err != nil {
		return nil, forHTTP(err)
	}
	return f, nil
}

// forHTTP makes what a client can cause by choosing a name a 404, as http.Dir does.
// The rest stays what it is: 403, and 500 for what the operator has to know.
func forHTTP(err error) error {
	if errors.Is(err, ErrEscapes) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// FS returns the cache as an [fs.FS], for names as in [fs.ValidPath]. Its files are
// also [io.ReaderAt], [io.Seeker] and, for directories, [fs.ReadDirFile].
//
// With [http.FileServerFS] it serves without sendfile; see [Cache.FileSystem].
func (c *Cache) FS() fs.FS { return fsys{c} }

type fsys struct{ c *Cache }

func (s fsys) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return s.c.lend(name, false)
}

// maxIdle is how many clones an entry keeps for the next callers. They hold no
// descriptor; it is about as many as are in use at once.
const maxIdle = 8

// lend is Open for a caller that has one file at a time and no use for its own stack.
// If brief, what it gives is used as net/http does: at once, and once.
func (c *Cache) lend(name string, brief bool) (http.File, error) {
	key, err := c.key(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f, dir, due := c.borrow(key)
	if due {
		defer c.yield()
	}
	if dir != nil && brief {
		return &directory{c: c, name: key, info: dir}, nil
	}
	if f != nil && f.clone == nil {
		if f.clone, err = f.of.Clone(); err != nil {
			f = nil // evicted in between
		}
	}
	if f != nil {
		if !brief {
			f.head = nil
		}
		return f, nil
	}
	g, err := c.Open(name)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// borrow is hit or hitDir, and takes an idle clone of the file, if there is one.
func (c *Cache) borrow(name string) (f *file, dir fs.FileInfo, due bool) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, due := c.hit(name, now)
	if e == nil {
		return nil, c.hitDir(name, now), false
	}
	f = &file{c: c, entry: e, of: e.file, head: e.head}
	if n := len(e.idle); n > 0 {
		f.clone, e.idle = e.idle[n-1], e.idle[:n-1]
	}
	return f, nil, due
}

// takeBack ends the life of f.
func (c *Cache) takeBack(f *file) error {
	if !f.owned.Load() {
		c.mu.Lock()
		if e := f.entry; e.file == f.of && len(e.idle) < maxIdle {
			e.idle = append(e.idle, f.clone)
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
	}
	return f.clone.Close()
}
