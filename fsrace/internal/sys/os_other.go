// SPDX-License-Identifier: MIT

//go:build !unix

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// CloseToRename reports whether a file must be closed before it can be renamed.
const CloseToRename = true

// Flags for Open beside those of package os: none here.
const (
	NoFollow = 0
	NonBlock = 0
)

func (OS) Stat(name string) (Info, error)  { return stat(os.Stat(name)) }
func (OS) Lstat(name string) (Info, error) { return stat(os.Lstat(name)) }

func stat(fi fs.FileInfo, err error) (Info, error) {
	if err != nil {
		return Info{}, Bare(err)
	}
	return Info{Mode: fi.Mode(), Nlink: 1, Size: fi.Size(), Mtime: fi.ModTime().UnixNano()}, nil
}

func (OS) Mkdir(name string, perm fs.FileMode) error { return Bare(os.Mkdir(name, perm)) }
func (OS) Rename(from, to string) error              { return Bare(os.Rename(from, to)) }
func (OS) Link(from, to string) error                { return Bare(os.Link(from, to)) }
func (OS) Chmod(name string, perm fs.FileMode) error { return Bare(os.Chmod(name, perm)) }

func (OS) RenameNoReplace(from, to string) error {
	return fmt.Errorf("rename without replacing: %w", errors.ErrUnsupported)
}

func (OS) Rmdir(name string) error {
	if fi, err := os.Lstat(name); err != nil {
		return Bare(err)
	} else if !fi.IsDir() {
		return syscall.ENOTDIR
	}
	return Bare(os.Remove(name))
}

func (OS) Unlink(name string) error {
	if fi, err := os.Lstat(name); err == nil && fi.IsDir() {
		return syscall.EISDIR
	}
	return Bare(os.Remove(name))
}

func (OS) RemoveAll(name string) error { return Bare(os.RemoveAll(name)) }

func (OS) Readlink(name string) (string, error) {
	target, err := os.Readlink(name)
	return target, Bare(err)
}

func (OS) ReadDir(name string) ([]string, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, Bare(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return names, Bare(err)
}

// SyncDir does nothing: a directory cannot be opened for syncing here.
func (OS) SyncDir(name string) error { return nil }

func (OS) Open(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, Bare(err)
	}
	return file{f}, nil
}

// OpenAs is os.OpenFile: a file that is open cannot be moved here.
func OpenAs(name, at string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(at, flag, perm)
}

type file struct{ *os.File }

// OSFile returns the file that Open opened, or nil if f is not one of OS.
func OSFile(f File) *os.File {
	if f, ok := f.(file); ok {
		return f.File
	}
	return nil
}

func (f file) Stat() (Info, error) { return stat(f.File.Stat()) }
func (f file) Unlock() error       { return f.TryLock() }
func (f file) TryLock() error      { return fmt.Errorf("flock: %w", errors.ErrUnsupported) }

// FromFileInfo converts what os says of a file.
func FromFileInfo(fi fs.FileInfo) Info {
	i, _ := stat(fi, nil)
	return i
}

// Transient reports whether err may be of a file that is being deleted: its name
// stays, inaccessible, until the last handle is closed.
func Transient(err error) bool {
	const sharingViolation = syscall.Errno(32)
	return errors.Is(err, fs.ErrPermission) || err == sharingViolation
}

// Bare takes off the wrapping that os puts around an error.
func Bare(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}
