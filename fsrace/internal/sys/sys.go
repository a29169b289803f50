// SPDX-License-Identifier: MIT

// Package sys is the one table of file-system calls that fsrace and its
// subpackages are built on, so that tests can schedule, fail and crash at each.
//
// Every method but RemoveAll is one system call (an interrupted one is repeated),
// takes plain paths, and returns a bare error whose identity is a [syscall.Errno] on
// Unix.
package sys

import (
	"io"
	"io/fs"
	"os"
)

// An FS makes file-system calls. [OS] makes them for real.
type FS interface {
	Stat(name string) (Info, error)
	Lstat(name string) (Info, error)
	Mkdir(name string, perm fs.FileMode) error
	Rmdir(name string) error
	// Open takes the flags of os.OpenFile and those of this package.
	Open(name string, flag int, perm fs.FileMode) (File, error)
	Rename(from, to string) error
	// RenameNoReplace fails with EEXIST if to exists, whatever it is. Where the
	// kernel or the file system cannot do that, it does nothing and the error
	// wraps errors.ErrUnsupported.
	RenameNoReplace(from, to string) error
	Link(from, to string) error
	Unlink(name string) error
	// Create makes an empty file of mode 0600, and fails with EEXIST if anything is
	// at name.
	Create(name string) error
	// RemoveAll removes name and all that is below it, and follows no symbolic link,
	// not even one that is put in the place of a directory meanwhile.
	RemoveAll(name string) error
	Readlink(name string) (string, error)
	// ReadDir lists the names in a directory, in no order.
	ReadDir(name string) ([]string, error)
	// Chmod changes a directory's mode, and never through a symbolic link.
	Chmod(name string, perm fs.FileMode) error
	// SyncDir makes the entries of a directory durable. A file system that cannot
	// sync directories is no error: nothing more can be done there.
	SyncDir(name string) error
}

// A File is an open file.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Stat() (Info, error)
	Truncate(size int64) error
	Chmod(perm fs.FileMode) error
	Sync() error
	// TryLock takes the exclusive advisory lock of the open file description. It
	// never waits: EWOULDBLOCK means that another description has it.
	TryLock() error
	// Unlock gives it up, also for the copies of the description that a child holds
	// between its fork and its exec.
	Unlock() error
}

// Info is the part of a stat result that fsrace looks at.
type Info struct {
	Mode     fs.FileMode
	Dev, Ino uint64 // zero where the platform has none
	Nlink    uint64
	UID      uint32
	Size     int64
	Mtime    int64 // nanoseconds since 1970
}

// IsDir reports whether i is of a directory.
func (i Info) IsDir() bool { return i.Mode.IsDir() }

// Same reports whether i and j are certainly of one file.
func (i Info) Same(j Info) bool { return i.Ino != 0 && i.Ino == j.Ino && i.Dev == j.Dev }

// OS makes the calls for real.
type OS struct{}

func createByOpen(name string) error {
	f, err := OS{}.Open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|NoFollow, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return nil
}

var _ FS = OS{}
