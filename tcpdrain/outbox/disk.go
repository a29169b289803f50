// SPDX-License-Identifier: MIT

package outbox

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A disk is the file system as a queue sees it: each call that can fail, or that
// matters for what a crash leaves behind. Tests put a model in its place.
type disk interface {
	mkdirAll(dir string) error // makes and syncs what is missing
	lock(name string) (io.Closer, error)
	open(name string, flag int) (file, error)
	list(dir string) ([]string, error)
	rename(from, to string) error
	remove(name string) error
	syncDir(dir string) error
	boot() string // changes when the machine restarts; "" if unknown
	newID() queueID
	spawn(fn func()) // go fn()
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	size() (int64, error)
	truncate(size int64) error
	sync() error
	// shared allocates n bytes from off on and maps them so that stores reach the
	// page cache. It fails with errors.ErrUnsupported where a store to such memory
	// could run into a full disk.
	shared(off int64, n int) ([]byte, error)
	unmap(mem []byte) error
}

type osDisk struct{}

func (osDisk) mkdirAll(dir string) error {
	switch fi, err := os.Stat(dir); {
	case err == nil && fi.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("not a directory")}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := (osDisk{}).mkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return osDisk{}.syncDir(parent)
}

func (osDisk) open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (osDisk) list(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(name string) error     { return os.Remove(name) }
func (osDisk) spawn(fn func())              { go fn() }

func (osDisk) newID() (id queueID) {
	rand.Read(id[:])
	return id
}

type osFile struct{ *os.File }

func (f *osFile) size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f *osFile) truncate(size int64) error { return f.Truncate(size) }
