// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"
	"weak"
)

func (r *registry) open(name string, flag int, perm fs.FileMode) (*File, error) {
	file, fd, id, err := r.sys.open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	c := &core{reg: r, file: file, fd: fd, name: name, private: true, holders: 1, id: id}
	f := c.newFile(true)
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
	var werr error
	// Inside Control the number is sure to be file's.
	err = rc.Control(func(fd uintptr) {
		if g, werr = r.table.owner(fd, file); g != nil || werr != nil {
			return
		}
		c := &core{reg: r, file: file, fd: fd, name: file.Name(), tracked: true, holders: 1}
		if r.level() >= Paranoid {
			c.id = r.sys.identify(fd)
		}
		g = c.newFile(true)
		g.track(r.capture())
		c.root = weak.Make(g)
		if won, err := r.table.claimOrGet(g); won != g {
			g.h.cleanup.Stop()
			g, werr = won, err
			return
		}
		c.note("wrap", g.h.stack)
	})
	if err != nil { // closed; package poll's own error says so to nobody
		return nil, &fs.PathError{Op: "wrap", Path: file.Name(), Err: fs.ErrClosed}
	}
	return g, werr
}

func (r *registry) adopt(fd uintptr, name string) (*File, error) {
	id, err := r.sys.prepare(fd)
	if err != nil {
		return nil, &fs.PathError{Op: "adopt", Path: name, Err: err}
	}
	c := &core{reg: r, fd: fd, name: name, private: true, tracked: true, holders: 1, id: id}
	g := c.newFile(true)
	g.track(r.capture())
	// The number is claimed before the file is made: the finalizer of a second
	// file would close the first one's number.
	if won, err := r.table.claimOrGet(g); won != g {
		g.h.cleanup.Stop()
		return nil, err
	}
	c.file = os.NewFile(fd, name)
	c.note("adopt", g.h.stack)
	return g, nil
}

// newFile makes a handle on c, whose holders count it already.
func (c *core) newFile(root bool) *File {
	f := &File{h: &c.origin}
	if !root {
		f.h = new(holder)
	}
	f.h.core, f.h.root = c, root
	f.self = f
	return f
}

// track makes f known to the leak detection.
func (f *File) track(s *stack) {
	h, r := f.h, f.h.core.reg
	now := time.Now()
	h.stack, h.opened, h.id = s, now.UnixNano(), r.ids.Add(1)
	h.cleanup = runtime.AddCleanup(f, (*holder).dropped, h)
	r.publish()
	r.sampleTrend(now)
	if p := r.profile.public; p != nil {
		p.Add(h, 3)
	}
}
