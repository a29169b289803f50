// SPDX-License-Identifier: MIT

package opencache

import (
	"io/fs"
	"sync"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A directory is what FileSystem gives out for one that it need not open; see
// [Cache.hitDir]. It is opened when it is used for more than Stat.
type directory struct {
	c    *Cache
	name string
	info fs.FileInfo

	mu     sync.Mutex
	file   *fdguard.File // once it is opened
	closed bool
}

func (d *directory) open(op string) (*fdguard.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, &fs.PathError{Op: op, Path: d.name, Err: fs.ErrClosed}
	}
	if d.file == nil {
		f, _, err := d.c.openFile(d.name)
		if err != nil {
			return nil, err
		}
		d.file = f
	}
	return d.file, nil
}

// Close is idempotent.
func (d *directory) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.file == nil {
		return nil
	}
	return d.file.Close()
}

// Guard makes fdguard.Wrap see through d.
func (d *directory) Guard() *fdguard.File {
	f, _ := d.open("wrap")
	return f
}

func (d *directory) Stat() (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, &fs.PathError{Op: "stat", Path: d.name, Err: fs.ErrClosed}
	case d.file != nil:
		return d.file.Stat()
	}
	return d.info, nil
}

func (d *directory) Read(p []byte) (int, error) {
	f, err := d.open("read")
	if err != nil {
		return 0, err
	}
	return f.Read(p)
}

func (d *directory) Seek(offset int64, whence int) (int64, error) {
	f, err := d.open("seek")
	if err != nil {
		return 0, err
	}
	return f.Seek(offset, whence)
}

func (d *directory) Readdir(n int) ([]fs.FileInfo, error) {
	f, err := d.open("readdir")
	if err != nil {
		return nil, err
	}
	return f.Readdir(n)
}

func (d *directory) ReadDir(n int) ([]fs.DirEntry, error) {
	f, err := d.open("readdir")
	if err != nil {
		return nil, err
	}
	return f.ReadDir(n)
}
