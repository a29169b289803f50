// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"weak"
)

func (r *registry) open(name string, flag int, perm fs.FileMode) (*File, error) {
	file, fd, id, err := r.sys.open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	c := &core{reg: r, file: file, fd: fd, name: name, private: true, regular: id.regular(), holders: 1, id: id}
	f := c.newFile(&c.origin)
	if r.level() > Off {
		c.tracked = true
		f.track(r.capture())
		c.note("open", f.h.stack)
		r.table.claim(c, f.h)
	}
	return f, nil
}

func (r *registry) wrap(f fs.File) (*File, error) {
	if g, ok := f.(interface{ Guard() *File }); ok {
		return g.Guard().wrapped()
	}
	file, ok := f.(*os.File)
	if !ok {
		return nil, fmt.Errorf("fdguard: wrap: a %T has no descriptor: %w", f, errors.ErrUnsupported)
	}
	if file == nil {
		return nil, fs.ErrInvalid
	}
	rc, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var g *File
	// Inside Control the number is sure to be file's.
	if rc.Control(func(fd uintptr) { g, err = r.wrapFD(file, fd) }) != nil {
		// Closed. Package poll's own error says so to nobody.
		return nil, &fs.PathError{Op: "wrap", Path: file.Name(), Err: fs.ErrClosed}
	}
	return g, err
}

func (r *registry) wrapFD(file *os.File, fd uintptr) (*File, error) {
	if g, err := r.table.owner(fd, file); g != nil || err != nil {
		return g, err
	}
	c := &core{reg: r, file: file, fd: fd, name: file.Name(), tracked: true, holders: 1}
	if r.level() >= Paranoid {
		c.id = r.sys.identify(fd)
	}
	g := c.newFile(&c.origin)
	g.track(r.capture())
	c.root = weak.Make(g)
	r.step("wrap")
	if won, err := r.table.claimOrGet(g); won != g {
		g.untrack()
		return won, err
	}
	c.note("wrap", g.h.stack)
	return g, nil
}

func (r *registry) adopt(fd uintptr, name string) (*File, error) {
	id, err := r.sys.prepare(fd)
	if err != nil {
		return nil, &fs.PathError{Op: "adopt", Path: name, Err: err}
	}
	c := &core{reg: r, fd: fd, name: name, private: true, regular: id.regular(), tracked: true, holders: 1, id: id}
	g := c.newFile(&c.origin)
	g.track(r.capture())
	// The number is claimed before the file is made: the finalizer of a second
	// file would close the first one's number.
	if won, err := r.table.claimOrGet(g); won != g {
		g.untrack()
		return nil, err
	}
	if c.file = os.NewFile(fd, name); c.file == nil { // Windows' invalid handle, which prepare finds elsewhere
		g.untrack()
		r.table.remove(g.h)
		return nil, &fs.PathError{Op: "adopt", Path: name, Err: fs.ErrInvalid}
	}
	c.note("adopt", g.h.stack)
	return g, nil
}

// newFile makes h, which c.holders counts already, a holder of c, and its handle.
func (c *core) newFile(h *holder) *File {
	h.core = c
	f := &File{h: h}
	f.self = f
	return f
}

// track makes f known to the leak detection.
func (f *File) track(s *stack) {
	h, r := f.h, f.h.core.reg
	h.stack, h.opened, h.id = s, now(), r.ids.Add(1)
	f.cleanup = runtime.AddCleanup(f, (*holder).dropped, h)
	r.publish()
	r.sampleTrend(h.opened)
}

// untrack ends the watch. Until then f has to be reachable, or it might be taken
// for dropped.
func (f *File) untrack() {
	f.cleanup.Stop()
	runtime.KeepAlive(f)
}
