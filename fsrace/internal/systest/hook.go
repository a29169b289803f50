// SPDX-License-Identifier: MIT

// Package systest stands between fsrace's algorithms and the file system: it runs
// every interleaving of a few actors, fails any call, and crashes a model of a
// disk that forgets what was not synced.
package systest

import (
	"fmt"
	"io/fs"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// A Call is one file-system call about to be made.
type Call struct {
	Op   string // the method's name, in lower case: "rename", "sync"
	Path string // the (first) path; for calls on open files, the path it was opened by
	To   string // the second path, of rename, renamenoreplace and link
}

func (c Call) String() string {
	if c.To != "" {
		return fmt.Sprintf("%s %s %s", c.Op, c.Path, c.To)
	}
	return c.Op + " " + c.Path
}

// A Hook is called in place of each call, and decides whether, when and how often
// to run do. What it returns is the call's error: nil only if do returned nil.
type Hook func(c Call, do func() error) error

// Wrap returns under with hook around each of its calls.
func Wrap(under sys.FS, hook Hook) sys.FS { return &hooked{under, hook} }

type hooked struct {
	sys.FS
	hook Hook
}

func (h *hooked) Stat(name string) (i sys.Info, err error) {
	err = h.hook(Call{"stat", name, ""}, func() error { i, err = h.FS.Stat(name); return err })
	return i, err
}

func (h *hooked) Lstat(name string) (i sys.Info, err error) {
	err = h.hook(Call{"lstat", name, ""}, func() error { i, err = h.FS.Lstat(name); return err })
	return i, err
}

func (h *hooked) Mkdir(name string, perm fs.FileMode) error {
	return h.hook(Call{"mkdir", name, ""}, func() error { return h.FS.Mkdir(name, perm) })
}

func (h *hooked) Rmdir(name string) error {
	return h.hook(Call{"rmdir", name, ""}, func() error { return h.FS.Rmdir(name) })
}

func (h *hooked) Rename(from, to string) error {
	return h.hook(Call{"rename", from, to}, func() error { return h.FS.Rename(from, to) })
}

func (h *hooked) RenameNoReplace(from, to string) error {
	return h.hook(Call{"renamenoreplace", from, to}, func() error { return h.FS.RenameNoReplace(from, to) })
}

func (h *hooked) Link(from, to string) error {
	return h.hook(Call{"link", from, to}, func() error { return h.FS.Link(from, to) })
}

func (h *hooked) Unlink(name string) error {
	return h.hook(Call{"unlink", name, ""}, func() error { return h.FS.Unlink(name) })
}

func (h *hooked) Create(name string) error {
	return h.hook(Call{"create", name, ""}, func() error { return h.FS.Create(name) })
}

func (h *hooked) RemoveAll(name string) error {
	return h.hook(Call{"removeall", name, ""}, func() error { return h.FS.RemoveAll(name) })
}

func (h *hooked) Readlink(name string) (target string, err error) {
	err = h.hook(Call{"readlink", name, ""}, func() error { target, err = h.FS.Readlink(name); return err })
	return target, err
}

func (h *hooked) ReadDir(name string) (names []string, err error) {
	err = h.hook(Call{"readdir", name, ""}, func() error { names, err = h.FS.ReadDir(name); return err })
	return names, err
}

func (h *hooked) Chmod(name string, perm fs.FileMode) error {
	return h.hook(Call{"chmod", name, ""}, func() error { return h.FS.Chmod(name, perm) })
}

func (h *hooked) SyncDir(name string) error {
	return h.hook(Call{"syncdir", name, ""}, func() error { return h.FS.SyncDir(name) })
}

// Open's file is closed again if the hook reports a failure of a call that succeeded.
func (h *hooked) Open(name string, flag int, perm fs.FileMode) (sys.File, error) {
	var f sys.File
	err := h.hook(Call{"open", name, ""}, func() (err error) {
		f, err = h.FS.Open(name, flag, perm)
		return err
	})
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return &hookedFile{f, name, h.hook}, nil
}

type hookedFile struct {
	sys.File
	name string
	hook Hook
}

func (f *hookedFile) Read(p []byte) (n int, err error) {
	err = f.hook(Call{"read", f.name, ""}, func() error { n, err = f.File.Read(p); return err })
	return n, err
}

func (f *hookedFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.hook(Call{"readat", f.name, ""}, func() error { n, err = f.File.ReadAt(p, off); return err })
	return n, err
}

func (f *hookedFile) Write(p []byte) (n int, err error) {
	err = f.hook(Call{"write", f.name, ""}, func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *hookedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.hook(Call{"writeat", f.name, ""}, func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f *hookedFile) Stat() (i sys.Info, err error) {
	err = f.hook(Call{"fstat", f.name, ""}, func() error { i, err = f.File.Stat(); return err })
	return i, err
}

func (f *hookedFile) Truncate(size int64) error {
	return f.hook(Call{"truncate", f.name, ""}, func() error { return f.File.Truncate(size) })
}

func (f *hookedFile) Chmod(perm fs.FileMode) error {
	return f.hook(Call{"fchmod", f.name, ""}, func() error { return f.File.Chmod(perm) })
}

func (f *hookedFile) Sync() error {
	return f.hook(Call{"sync", f.name, ""}, f.File.Sync)
}

func (f *hookedFile) TryLock() error {
	return f.hook(Call{"trylock", f.name, ""}, f.File.TryLock)
}

func (f *hookedFile) Unlock() error {
	return f.hook(Call{"unlock", f.name, ""}, f.File.Unlock)
}

// Close always closes, whatever the hook makes of it: close(2) frees the
// descriptor even when it reports an error.
func (f *hookedFile) Close() error {
	closed := false
	err := f.hook(Call{"close", f.name, ""}, func() error { closed = true; return f.File.Close() })
	if !closed {
		f.File.Close()
	}
	return err
}
