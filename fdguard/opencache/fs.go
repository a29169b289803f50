// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
)

// FileSystem returns the cache for [http.FileServer]. Its files keep sendfile(2),
// which [http.FS] and so [http.FileServerFS] hide. Where [http.Dir] follows a
// symbolic link out of its directory, this gives "not found".
func (c *Cache) FileSystem() http.FileSystem { return fileSystem{c} }

type fileSystem struct{ c *Cache }

func (s fileSystem) Open(name string) (http.File, error) {
	f, err := s.c.lend(name)
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
	return s.c.lend(name)
}
