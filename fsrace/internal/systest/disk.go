// SPDX-License-Identifier: MIT

package systest

import (
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// A Disk is a file system in memory that keeps apart what is and what would be
// found after a crash. It follows POSIX where file systems differ, and promises no
// more than it: syncing a file saves its data and not its name, and syncing a
// directory saves its entries. Renames are atomic, also between directories.
//
// A Disk knows no permissions and no working directory: all paths start at its
// root. Make one with [NewDisk].
type Disk struct {
	mu    sync.Mutex
	root  *node
	inos  uint64
	clock int64
	// pending are the changes to directories that no sync has saved, in order.
	pending []change
}

type node struct {
	ino           uint64
	mode          fs.FileMode
	mtime         int64
	nlink         int
	target        string           // of a symbolic link
	data, saved   []byte           // of a file: now, and after a crash
	entries, kept map[string]*node // of a directory: now, and after a crash
	locker        *handle
}

// A change is one atomic step of one or two directories.
type change []edit

type edit struct {
	dir  *node
	name string
	to   *node // nil: removed
}

// NewDisk returns a disk with nothing but an empty root.
func NewDisk() *Disk {
	d := &Disk{}
	d.root = d.node(fs.ModeDir | 0o755)
	return d
}

func (d *Disk) node(mode fs.FileMode) *node {
	d.inos++
	d.clock++
	n := &node{ino: d.inos, mode: mode, mtime: d.clock}
	if mode.IsDir() {
		n.entries, n.kept = map[string]*node{}, map[string]*node{}
	}
	return n
}

func (d *Disk) change(c ...edit) {
	for _, e := range c {
		d.clock++
		e.dir.mtime = d.clock
		if old := e.dir.entries[e.name]; old != nil {
			old.nlink--
			delete(e.dir.entries, e.name)
		}
		if e.to != nil {
			e.to.nlink++
			e.dir.entries[e.name] = e.to
		}
	}
	d.pending = append(d.pending, c)
}

// A place is where a path leads: an entry of a directory, taken or free.
type place struct {
	dir  *node
	name string // empty for the root, and for a path ending in . or ..
	node *node  // nil: free
}

// walk finds the place of path. follow says whether a symbolic link in the last
// component is followed; a path that ends in a slash always is.
func (d *Disk) walk(path string, follow bool) (place, error) {
	stack := []*node{d.root}
	left := strings.Split(path, "/")
	for links := 0; ; {
		dir := stack[len(stack)-1]
		for len(left) > 0 && (left[0] == "" || left[0] == ".") {
			left = left[1:]
		}
		if len(left) == 0 {
			return place{node: dir}, nil
		}
		name := left[0]
		left = left[1:]
		if name == ".." {
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		n := dir.entries[name]
		switch last := len(left) == 0; {
		case n == nil && (last || strings.Trim(strings.Join(left, ""), "/") == ""):
			return place{dir: dir, name: name}, nil
		case n == nil:
			return place{}, syscall.ENOENT
		case n.mode&fs.ModeSymlink != 0 && (!last || follow):
			if links++; links > 40 {
				return place{}, syscall.ELOOP
			}
			if strings.HasPrefix(n.target, "/") {
				stack = stack[:1]
			}
			left = append(strings.Split(n.target, "/"), left...)
		case last:
			return place{dir, name, n}, nil
		case !n.mode.IsDir():
			return place{}, syscall.ENOTDIR
		default:
			stack = append(stack, n)
		}
	}
}

// at does op under the lock, at the place of path.
func (d *Disk) at(path string, follow bool, op func(place) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.walk(path, follow)
	if err != nil {
		return err
	}
	return op(p)
}

func (d *Disk) stat(path string, follow bool) (i sys.Info, err error) {
	err = d.at(path, follow, func(p place) error {
		if p.node == nil {
			return syscall.ENOENT
		}
		i = p.node.info()
		return nil
	})
	return i, err
}

func (n *node) info() sys.Info {
	return sys.Info{
		Mode: n.mode, Dev: 1, Ino: n.ino, Nlink: uint64(n.nlink), UID: uint32(os.Getuid()),
		Size: int64(len(n.data) + len(n.target)), Mtime: n.mtime,
	}
}

func (d *Disk) Stat(name string) (sys.Info, error)  { return d.stat(name, true) }
func (d *Disk) Lstat(name string) (sys.Info, error) { return d.stat(name, false) }

func (d *Disk) Mkdir(name string, perm fs.FileMode) error {
	return d.at(name, false, func(p place) error {
		if p.node != nil {
			return syscall.EEXIST
		}
		d.change(edit{p.dir, p.name, d.node(fs.ModeDir | perm.Perm())})
		return nil
	})
}

// Symlink makes name a symbolic link to target.
func (d *Disk) Symlink(target, name string) error {
	return d.at(name, false, func(p place) error {
		if p.node != nil {
			return syscall.EEXIST
		}
		n := d.node(fs.ModeSymlink | 0o777)
		n.target = target
		d.change(edit{p.dir, p.name, n})
		return nil
	})
}

func (d *Disk) Readlink(name string) (target string, err error) {
	err = d.at(name, false, func(p place) error {
		switch {
		case p.node == nil:
			return syscall.ENOENT
		case p.node.mode&fs.ModeSymlink == 0:
			return syscall.EINVAL
		}
		target = p.node.target
		return nil
	})
	return target, err
}

func (d *Disk) Rmdir(name string) error {
	return d.at(name, false, func(p place) error {
		switch {
		case p.node == nil:
			return syscall.ENOENT
		case !p.node.mode.IsDir():
			return syscall.ENOTDIR
		case p.name == "":
			return syscall.EBUSY
		case len(p.node.entries) > 0:
			return syscall.ENOTEMPTY
		}
		d.change(edit{p.dir, p.name, nil})
		return nil
	})
}

func (d *Disk) Unlink(name string) error {
	return d.at(name, false, func(p place) error {
		switch {
		case p.node == nil:
			return syscall.ENOENT
		case p.node.mode.IsDir():
			return syscall.EISDIR
		}
		d.change(edit{p.dir, p.name, nil})
		return nil
	})
}

func (d *Disk) Create(name string) error {
	return d.at(name, false, func(p place) error {
		if p.node != nil {
			return syscall.EEXIST
		}
		d.change(edit{p.dir, p.name, d.node(0o600)})
		return nil
	})
}

func (d *Disk) RemoveAll(name string) error {
	return d.at(name, false, func(p place) error {
		if p.node != nil {
			d.removeAll(p)
		}
		return nil
	})
}

func (d *Disk) removeAll(p place) {
	for name, child := range p.node.entries {
		d.removeAll(place{p.node, name, child})
	}
	d.change(edit{p.dir, p.name, nil})
}

func (d *Disk) Link(from, to string) error {
	return d.at(from, false, func(src place) error {
		if src.node == nil {
			return syscall.ENOENT
		}
		dst, err := d.walk(to, false)
		switch {
		case err != nil:
			return err
		case dst.node != nil:
			return syscall.EEXIST
		case src.node.mode.IsDir():
			return syscall.EPERM
		}
		d.change(edit{dst.dir, dst.name, src.node})
		return nil
	})
}

func (d *Disk) Rename(from, to string) error          { return d.rename(from, to, true) }
func (d *Disk) RenameNoReplace(from, to string) error { return d.rename(from, to, false) }

func (d *Disk) rename(from, to string, replace bool) error {
	return d.at(from, false, func(src place) error {
		dst, err := d.walk(to, false)
		switch {
		case err != nil:
			return err
		case src.node == nil:
			return syscall.ENOENT
		case src.name == "":
			return syscall.EBUSY
		case dst.node != nil && !replace:
			return syscall.EEXIST
		case dst.node == src.node:
			return nil // two names of one file: rename(2) does nothing
		case src.node.holds(dst.dir):
			return syscall.EINVAL
		case dst.node == nil:
		case dst.node.mode.IsDir() && !src.node.mode.IsDir():
			return syscall.EISDIR
		case !dst.node.mode.IsDir() && src.node.mode.IsDir():
			return syscall.ENOTDIR
		case len(dst.node.entries) > 0:
			return syscall.ENOTEMPTY
		}
		d.change(edit{src.dir, src.name, nil}, edit{dst.dir, dst.name, src.node})
		return nil
	})
}

// holds reports whether dir is n or below it.
func (n *node) holds(dir *node) bool {
	if n == dir {
		return true
	}
	for _, child := range n.entries {
		if child.holds(dir) {
			return true
		}
	}
	return false
}

func (d *Disk) ReadDir(name string) (names []string, err error) {
	err = d.at(name, true, func(p place) error {
		switch {
		case p.node == nil:
			return syscall.ENOENT
		case !p.node.mode.IsDir():
			return syscall.ENOTDIR
		}
		for name := range p.node.entries {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func (d *Disk) Chmod(name string, perm fs.FileMode) error {
	return d.at(name, false, func(p place) error {
		switch {
		case p.node == nil:
			return syscall.ENOENT
		case !p.node.mode.IsDir():
			return syscall.ENOTDIR
		}
		p.node.mode = fs.ModeDir | perm.Perm()
		return nil
	})
}
