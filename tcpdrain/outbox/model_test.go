// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
)

// A modelDisk keeps files in memory, and beside each what the medium has of it.
type modelDisk struct {
	mu     sync.Mutex
	names  map[string]*modelInode // as processes see them
	stored map[string]*modelInode // as the last syncDir left them
	locked bool
	bootID string
	writes bool // no shared memory
	lazy   bool // what runs in the background does not get to run

	calls int
	// before is asked ahead of each call; its error is the call's result.
	before func(n int, op, name string) error
	// short makes a failing write leave half of its bytes.
	short bool
}

type modelInode struct {
	data   []byte       // page cache
	stored []byte       // medium
	dirty  map[int]bool // sectors written since the last sync, if there is no shared memory
}

// modelFileMax is the room for a file: mapped memory must not move.
const modelFileMax = 18 << 10

func newModelDisk() *modelDisk {
	return &modelDisk{names: map[string]*modelInode{}, stored: map[string]*modelInode{}, bootID: "boot-0"}
}

func (d *modelDisk) call(op, name string) error {
	d.calls++
	if d.before != nil {
		return d.before(d.calls, op, filepath.Base(name))
	}
	return nil
}

// killed returns the disk as the next process finds it.
func (d *modelDisk) killed() *modelDisk {
	e := newModelDisk()
	e.bootID, e.writes, e.lazy = d.bootID, d.writes, d.lazy
	copies := map[*modelInode]*modelInode{}
	dup := func(from map[string]*modelInode) map[string]*modelInode {
		to := map[string]*modelInode{}
		for name, ino := range from {
			if copies[ino] == nil {
				copies[ino] = &modelInode{append(make([]byte, 0, modelFileMax), ino.data...), append([]byte(nil), ino.stored...), maps.Clone(ino.dirty)}
			}
			to[name] = copies[ino]
		}
		return to
	}
	e.names, e.stored = dup(d.names), dup(d.stored)
	return e
}

// cut returns the disk as it is after a power cut: of what was not synced any
// sector may be there, or half of it, and any directory change.
func (d *modelDisk) cut(r *rand.Rand) *modelDisk {
	e := d.killed()
	e.bootID = d.bootID + "'"
	names := map[string]*modelInode{}
	all := maps.Clone(e.names)
	maps.Copy(all, e.stored)
	for name := range all {
		from := e.stored
		if r.IntN(2) == 0 {
			from = e.names
		}
		if ino := from[name]; ino != nil {
			names[name] = ino
		}
	}
	e.names, e.stored = names, maps.Clone(names)
	for _, ino := range names {
		size := len(ino.stored)
		if r.IntN(2) == 0 {
			size = len(ino.data)
		}
		after := make([]byte, size, modelFileMax)
		copy(after, ino.stored)
		for s := 0; s < size; s += 512 {
			end := min(s+512, size)
			switch r.IntN(4) {
			case 0: // not written
				continue
			case 1: // torn
				end = s + r.IntN(end-s+1)
			}
			if s < len(ino.data) {
				copy(after[s:end], ino.data[s:])
			}
		}
		ino.data, ino.stored = after, append([]byte(nil), after...)
	}
	return e
}

func (d *modelDisk) mkdirAll(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.call("mkdir", dir)
}

type modelLock struct{ d *modelDisk }

func (l modelLock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.d.locked = false
	return nil
}

func (d *modelDisk) lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("lock", name); err != nil {
		return nil, err
	}
	if d.locked {
		return nil, ErrLocked
	}
	d.locked = true
	return modelLock{d}, nil
}

func (d *modelDisk) open(name string, flag int) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("open", name); err != nil {
		return nil, err
	}
	ino := d.names[name]
	if ino == nil {
		if flag&syscall.O_CREAT == 0 {
			return nil, fs.ErrNotExist
		}
		ino = &modelInode{data: make([]byte, 0, modelFileMax)}
		d.names[name] = ino
	}
	return &modelFile{d, name, ino}, nil
}

func (d *modelDisk) list(dir string) (names []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("list", dir); err != nil {
		return nil, err
	}
	for name := range d.names {
		names = append(names, filepath.Base(name))
	}
	return names, nil
}

func (d *modelDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("rename", from); err != nil {
		return err
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *modelDisk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("remove", name); err != nil {
		return err
	}
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	delete(d.names, name)
	return nil
}

func (d *modelDisk) syncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("syncdir", dir); err != nil {
		return err
	}
	d.stored = maps.Clone(d.names)
	return nil
}

func (d *modelDisk) spawn(fn func()) {
	if !d.lazy {
		fn()
	}
}

func (d *modelDisk) boot() string   { return d.bootID }
func (d *modelDisk) newID() queueID { return queueID{1, 2, 3, byte(len(d.bootID))} }

type modelFile struct {
	d    *modelDisk
	name string
	ino  *modelInode
}

func (f *modelFile) call(op string) error { return f.d.call(op, f.name) }

func (f *modelFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.call("read"); err != nil {
		return 0, err
	}
	n := copy(b, f.ino.data[min(off, int64(len(f.ino.data))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *modelFile) grow(size int64) {
	if size > modelFileMax {
		panic("modelFileMax is too small")
	}
	if n := int64(len(f.ino.data)); size > n {
		f.ino.data = f.ino.data[:size]
		clear(f.ino.data[n:])
	}
}

func (f *modelFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.call("write")
	if err != nil {
		b = b[:len(b)/2]
		if !f.d.short {
			return 0, err
		}
	}
	f.grow(off + int64(len(b)))
	f.ino.touch(int(off), int(off)+len(b))
	return copy(f.ino.data[off:], b), err
}

func (f *modelFile) size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.ino.data)), f.call("size")
}

func (f *modelFile) truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.call("truncate"); err != nil {
		return err
	}
	f.ino.touch(min(len(f.ino.data), int(size)), max(len(f.ino.data), int(size)))
	f.grow(size)
	f.ino.data = f.ino.data[:size]
	return nil
}

// sync writes what is dirty. A failed one leaves the pages clean, as Linux does.
func (f *modelFile) sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.call("sync")
	defer clear(f.ino.dirty)
	if err != nil {
		return err
	}
	old := f.ino.stored
	f.ino.stored = append([]byte(nil), f.ino.data...)
	for at := 0; f.d.writes && at < len(f.ino.stored); at += 512 {
		if !f.ino.dirty[at/512] {
			sector := f.ino.stored[at:min(at+512, len(f.ino.stored))]
			clear(sector[copy(sector, old[min(at, len(old)):]):])
		}
	}
	return nil
}

func (ino *modelInode) touch(from, to int) {
	if ino.dirty == nil {
		ino.dirty = map[int]bool{}
	}
	for s := from / 512; s*512 < to; s++ {
		ino.dirty[s] = true
	}
}

func (f *modelFile) shared(off int64, n int) ([]byte, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.writes || off+int64(n) > modelFileMax {
		return nil, errors.ErrUnsupported
	}
	if err := f.call("shared"); err != nil {
		return nil, err
	}
	f.grow(off + int64(n))
	return f.ino.data[off:][:n:n], nil
}

func (f *modelFile) unmap([]byte) error { return nil }
func (f *modelFile) Close() error       { return nil }
