// SPDX-License-Identifier: MIT

//go:build unix

package sys

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// CloseToRename reports whether a file must be closed before it can be renamed.
const CloseToRename = false

// Flags for Open beside those of package os.
const (
	NoFollow = unix.O_NOFOLLOW
	NonBlock = unix.O_NONBLOCK
)

// stats keeps Stat from allocating: a Stat_t handed to a system call escapes.
var stats = sync.Pool{New: func() any { return new(syscall.Stat_t) }}

// Stat and Lstat have small frames, without defer or closure: a new goroutine's
// stack is just large enough for MkdirAll of what exists, and growing it costs as
// much as the system call.
func (OS) Stat(name string) (i Info, err error) {
	st := stats.Get().(*syscall.Stat_t)
	for {
		if err = syscall.Stat(name, st); err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		i = info(st)
	}
	stats.Put(st)
	return i, err
}

func (OS) Lstat(name string) (i Info, err error) {
	st := stats.Get().(*syscall.Stat_t)
	for {
		if err = syscall.Lstat(name, st); err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		i = info(st)
	}
	stats.Put(st)
	return i, err
}

//go:noinline
func info(st *syscall.Stat_t) Info {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		mode |= fs.ModeDir
	case syscall.S_IFLNK:
		mode |= fs.ModeSymlink
	case syscall.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case syscall.S_IFSOCK:
		mode |= fs.ModeSocket
	case syscall.S_IFBLK:
		mode |= fs.ModeDevice
	case syscall.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for _, b := range specialBits {
		if uint32(st.Mode)&b.unix != 0 {
			mode |= b.mode
		}
	}
	return Info{
		Mode: mode, Dev: uint64(st.Dev), Ino: uint64(st.Ino), Nlink: uint64(st.Nlink),
		UID: st.Uid, Size: st.Size, Mtime: mtime(st),
	}
}

var specialBits = [...]struct {
	unix uint32
	mode fs.FileMode
}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}}

func unixMode(perm fs.FileMode) uint32 {
	mode := uint32(perm.Perm())
	for _, b := range specialBits {
		if perm&b.mode != 0 {
			mode |= b.unix
		}
	}
	return mode
}

// retry repeats a call that a signal interrupted (signal(7)); os does the same.
func retry(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}

func (OS) Mkdir(name string, perm fs.FileMode) error {
	for mode := unixMode(perm); ; {
		if err := syscall.Mkdir(name, mode); err != syscall.EINTR {
			return err
		}
	}
}

func (OS) Rmdir(name string) error {
	return retry(func() error { return syscall.Rmdir(name) })
}

func (OS) Rename(from, to string) error {
	// Not os.Rename: it looks at the target first, and refuses directories.
	return retry(func() error { return syscall.Rename(from, to) })
}

func (OS) Link(from, to string) error {
	return retry(func() error { return syscall.Link(from, to) })
}

func (OS) Unlink(name string) error {
	return retry(func() error { return syscall.Unlink(name) })
}

// RemoveAll walks by descriptors, as removing a tree by paths cannot be safe.
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

func (OS) SyncDir(name string) error {
	d, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return Bare(err)
	}
	defer d.Close()
	err = Bare(d.Sync())
	// Some network and FUSE file systems cannot sync a directory (fsync(2)).
	if err == syscall.EINVAL || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (OS) Open(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, Bare(err)
	}
	return file{f}, nil
}

// OpenAs is os.OpenFile of a file at one place that is to be called by another name,
// for it will be moved there.
func OpenAs(name, at string, flag int, perm fs.FileMode) (*os.File, error) {
	fd := -1
	err := retry(func() (err error) {
		fd, err = syscall.Open(at, flag|syscall.O_CLOEXEC, unixMode(perm))
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

type file struct{ *os.File }

// OSFile returns the file that Open opened, or nil if f is not one of OS.
func OSFile(f File) *os.File {
	if f, ok := f.(file); ok {
		return f.File
	}
	return nil
}

func (f file) Stat() (Info, error) {
	st := stats.Get().(*syscall.Stat_t)
	defer stats.Put(st)
	if err := f.control(func(fd int) error { return syscall.Fstat(fd, st) }); err != nil {
		return Info{}, err
	}
	return info(st), nil
}

func (f file) control(call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = retry(func() error { return call(int(fd)) }) }); err != nil {
		return Bare(err)
	}
	return result
}

func (f file) Read(p []byte) (int, error) { n, err := f.File.Read(p); return n, Bare(err) }
func (f file) ReadAt(p []byte, o int64) (int, error) {
	n, err := f.File.ReadAt(p, o)
	return n, Bare(err)
}
func (f file) Write(p []byte) (int, error) { n, err := f.File.Write(p); return n, Bare(err) }
func (f file) WriteAt(p []byte, o int64) (int, error) {
	n, err := f.File.WriteAt(p, o)
	return n, Bare(err)
}
func (f file) Truncate(size int64) error    { return Bare(f.File.Truncate(size)) }
func (f file) Chmod(perm fs.FileMode) error { return Bare(f.File.Chmod(perm)) }
func (f file) Sync() error                  { return Bare(f.File.Sync()) }
func (f file) Close() error                 { return Bare(f.File.Close()) }

// FromFileInfo converts what os says of a file.
func FromFileInfo(fi fs.FileInfo) Info {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return info(st)
	}
	return Info{Mode: fi.Mode(), Size: fi.Size(), Mtime: fi.ModTime().UnixNano()}
}

// Transient reports whether err is of a file that a server has replaced meanwhile.
func Transient(err error) bool { return err == syscall.ESTALE }

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
