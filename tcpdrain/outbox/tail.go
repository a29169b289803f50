// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"unsafe"
)

const (
	mapWindow = 1 << 20   // how much of the tail is mapped at a time
	mapRecord = 256 << 10 // longer records are written with write(2)
)

// The tail is the end of the newest segment, where records are written.
//
// A record that Append has accepted must outlive the process, so it goes to the
// page cache before Append returns: by a store to shared memory where the platform
// allows, which costs no system call, else by a write. Either way a failure leaves
// the file as long as it was.
type tail struct {
	f    file
	salt uint64
	off  int64 // where the next frame goes

	win     []byte // mapped part of the file
	winOff  int64
	noMap   int64 // do not try to map below this offset
	limit   int64 // SegmentBytes
	scratch []byte
}

// put writes the frame of msg, of size bytes, at the end.
func (t *tail) put(q *Queue, seq uint64, msg []byte, size int64) error {
	m := mask(t.salt, t.off)
	if dst := t.mapped(size); dst != nil {
		if err := guarded(dst, func() { putFrame(dst, m, seq, msg) }); err != nil {
			return q.poison(err)
		}
	} else if err := t.write(m, seq, msg, size); err != nil {
		return errors.Join(err, t.cut())
	}
	t.off += size
	return nil
}

// mapped returns the mapped memory of the next size bytes of the file, or nil.
func (t *tail) mapped(size int64) []byte {
	if t.win == nil || t.off+size > t.winOff+int64(len(t.win)) {
		if size > mapRecord || t.off < t.noMap {
			return nil
		}
		t.unmap()
		from := t.off &^ (int64(os.Getpagesize()) - 1)
		n := min(mapWindow, max(t.limit-from, t.off-from+size))
		win, err := t.f.shared(from, int(n))
		if err != nil {
			t.noMap = t.off + mapWindow // a full disk, or no such file system: not each time
			return nil
		}
		t.win, t.winOff = win, from
	}
	return t.win[t.off-t.winOff:][:size:size]
}

func (t *tail) unmap() {
	if t.win != nil {
		t.f.unmap(t.win)
		t.win = nil
	}
}

func (t *tail) write(m, seq uint64, msg []byte, size int64) error {
	if size > mapRecord {
		t.scratch = nil
		return t.writeAll(frameOf(m, seq, msg), t.off)
	}
	if int64(cap(t.scratch)) < size {
		t.scratch = make([]byte, max(size, 4096))
	}
	b := t.scratch[:size]
	putFrame(b, m, seq, msg)
	return t.writeAll(b, t.off)
}

func frameOf(m, seq uint64, msg []byte) []byte {
	b := make([]byte, frameHeader+len(msg))
	putFrame(b, m, seq, msg)
	return b
}

func (t *tail) writeAll(b []byte, off int64) error {
	_, err := t.f.WriteAt(b, off)
	return err
}

// cut takes back what a failed write left, and with it what was allocated ahead.
func (t *tail) cut() error {
	t.unmap()
	return t.f.truncate(t.off)
}

// seal makes the segment durable in its final length.
func (t *tail) seal(q *Queue) error {
	if err := t.cut(); err != nil {
		return err
	}
	if err := t.f.sync(); err != nil {
		return q.poison(err)
	}
	return nil
}

func (t *tail) close() error {
	t.unmap()
	return t.f.Close()
}

// guarded calls write, which stores to mem, mapped memory. A page that cannot be
// had, because the medium failed or somebody cut the file, is answered with SIGBUS:
// an I/O error.
func guarded(mem []byte, write func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			fault, ok := r.(interface{ Addr() uintptr })
			from := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
			if !ok || fault.Addr() < from || fault.Addr() >= from+uintptr(len(mem)) {
				panic(r)
			}
			err = &os.PathError{Op: "store", Path: "mapped file", Err: syscall.EIO}
		}
	}()
	write()
	return nil
}

// create makes the file of a new segment, with its directory entry durable before
// any record in it can be.
func (q *Queue) create(seg segment) (tail, error) {
	name := filepath.Join(q.dir, seg.name())
	f, err := q.disk.open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return tail{}, err
	}
	t := tail{f: f, salt: seg.salt(q.id), off: segmentHeader, limit: q.cfg.SegmentBytes}
	if err = f.truncate(0); err == nil {
		err = t.writeAll(seg.header(q.id), 0)
	}
	if err == nil {
		err = q.disk.syncDir(q.dir)
	}
	if err != nil {
		return tail{}, errors.Join(err, f.Close(), q.disk.remove(name))
	}
	return t, nil
}
