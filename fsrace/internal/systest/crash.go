// SPDX-License-Identifier: MIT

package systest

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

func (d *Disk) SyncDir(name string) error {
	return d.at(name, true, func(p place) error {
		switch {
		case p.node == nil:
			return syscall.ENOENT
		case !p.node.mode.IsDir():
			return syscall.ENOTDIR
		}
		d.save(p.node)
		return nil
	})
}

// save makes durable all changes of dir, and those they rest upon: earlier changes
// of the directories they also touch.
func (d *Disk) save(dir *node) {
	touched := map[*node]bool{dir: true}
	var left []change
	var saved []change
	for _, c := range slices.Backward(d.pending) {
		if !slices.ContainsFunc(c, func(e edit) bool { return touched[e.dir] }) {
			left = append(left, c)
			continue
		}
		saved = append(saved, c)
		for _, e := range c {
			touched[e.dir] = true
		}
	}
	for _, c := range slices.Backward(saved) {
		for _, e := range c {
			e.keep(e.dir.kept)
		}
	}
	slices.Reverse(left)
	d.pending = left
}

func (e edit) keep(entries map[string]*node) {
	if e.to == nil {
		delete(entries, e.name)
	} else {
		entries[e.name] = e.to
	}
}

// Pending returns how many changes of directories are not saved.
func (d *Disk) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending)
}

// Crash returns the disk that would be found after a power failure now. The first
// names pending changes had reached the disk unasked; data says whether all file
// data had too, or none that was not synced. d itself goes on.
func (d *Disk) Crash(names int, data bool) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := map[*node]map[string]*node{}
	entries := func(dir *node) map[string]*node {
		if kept[dir] == nil {
			kept[dir] = maps.Clone(dir.kept)
		}
		return kept[dir]
	}
	for _, c := range d.pending[:min(names, len(d.pending))] {
		for _, e := range c {
			e.keep(entries(e.dir))
		}
	}
	after := &Disk{inos: d.inos, clock: d.clock}
	copies := map[*node]*node{}
	var revive func(old *node) *node
	revive = func(old *node) *node {
		n := copies[old]
		if n == nil {
			n = &node{ino: old.ino, mode: old.mode, mtime: old.mtime, target: old.target, saved: slices.Clone(old.saved)}
			copies[old] = n
			if data {
				n.saved = slices.Clone(old.data)
			}
			n.data = slices.Clone(n.saved)
			if old.mode.IsDir() {
				n.entries = map[string]*node{}
				for name, child := range entries(old) {
					n.entries[name] = revive(child)
				}
				n.kept = maps.Clone(n.entries)
			}
		}
		n.nlink++
		return n
	}
	after.root = revive(d.root)
	return after
}

// EachCrash calls check with every disk that may be found after a power failure now.
func (d *Disk) EachCrash(check func(after *Disk) error) error {
	for names := range d.Pending() + 1 {
		for _, data := range []bool{false, true} {
			if err := check(d.Crash(names, data)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Files returns the contents of all files, by path, for checks.
func (d *Disk) Files() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string]string{}
	var list func(dir *node, path string)
	list = func(dir *node, path string) {
		for name, n := range dir.entries {
			switch {
			case n.mode.IsDir():
				list(n, path+"/"+name)
			case n.mode.IsRegular():
				files[path+"/"+name] = string(n.data)
			}
		}
	}
	list(d.root, "")
	return files
}

func (d *Disk) Open(name string, flag int, perm fs.FileMode) (sys.File, error) {
	follow := sys.NoFollow == 0 || flag&sys.NoFollow == 0
	excl := flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL
	var h *handle
	err := d.at(name, follow && !excl, func(p place) error {
		n := p.node
		switch {
		case n == nil && flag&os.O_CREATE == 0:
			return syscall.ENOENT
		case n == nil:
			n = d.node(perm.Perm())
			d.change(edit{p.dir, p.name, n})
		case excl:
			return syscall.EEXIST
		case n.mode&fs.ModeSymlink != 0:
			return syscall.ELOOP
		case n.mode.IsDir() && flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0:
			return syscall.EISDIR
		case flag&os.O_TRUNC != 0:
			n.data = nil
		}
		h = &handle{disk: d, node: n}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}
