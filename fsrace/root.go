// SPDX-License-Identifier: MIT

package fsrace

import (
	"io/fs"
	"os"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// rootFS makes the calls of dirFS within a root: it is os.Root that keeps them
// from getting out.
type rootFS struct{ root *os.Root }

func (r rootFS) Stat(name string) (sys.Info, error)  { return rootInfo(r.root.Stat(name)) }
func (r rootFS) Lstat(name string) (sys.Info, error) { return rootInfo(r.root.Lstat(name)) }

func rootInfo(fi fs.FileInfo, err error) (sys.Info, error) {
	if err != nil {
		return sys.Info{}, sys.Bare(err)
	}
	return sys.FromFileInfo(fi), nil
}

func (r rootFS) Readlink(name string) (string, error) {
	target, err := r.root.Readlink(name)
	return target, sys.Bare(err)
}

func (r rootFS) Mkdir(name string, perm fs.FileMode) error {
	return sys.Bare(r.root.Mkdir(name, perm))
}

// Chmod opens first: os.Root.Chmod may follow a link that is put in the way, out
// of the root. What is there by now may be another thing than what was made, even a
// pipe, so it only adds the owner's bits, and only to a directory.
func (r rootFS) Chmod(name string, perm fs.FileMode) error {
	f, err := r.root.OpenFile(name, os.O_RDONLY|sys.NonBlock, 0)
	if err != nil {
		return sys.Bare(err)
	}
	defer f.Close()
	i, err := f.Stat()
	if err == nil && !i.IsDir() {
		err = syscall.ENOTDIR
	}
	if err == nil {
		err = f.Chmod(i.Mode().Perm() | perm&0o300)
	}
	return sys.Bare(err)
}
