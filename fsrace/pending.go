// SPDX-License-Identifier: MIT

package fsrace

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// WriteFile makes name a file with that data, atomically and durably: whoever
// opens name, also after a crash at any moment, finds the old file or the new one,
// and once WriteFile has returned nil, the new one. Missing parents are made, and
// made again as [Create] does.
//
// The file is a new one, of mode perm before umask(2): an old file's mode, owner
// and hard links are not kept, and a symbolic link at name is replaced, not
// followed. Empty directories in its way are removed, as by Create. WriteFile is a [Pending] with one Write, and is safe for concurrent use:
// the last one to commit wins.
func WriteFile(name string, data []byte, perm fs.FileMode) error {
	p, err := NewPending(name, perm)
	if err != nil {
		return err
	}
	defer p.Discard()
	if _, err := p.Write(data); err != nil {
		return err
	}
	return p.Commit()
}

// A Pending is a file that is not there yet: it is written under a temporary name
// in the directory it is meant for, and appears whole or never. Make one with
// [NewPending], and defer its Discard. It is safe for concurrent use.
//
// The temporary name begins with ".fsrace-" and tells its owner. If the process is
// killed, the file stays until somebody writes to that directory with this package
// and finds the owner dead for certain (see [Owner.Liveness]). Each process looks at
// its first write there, and then once a second; less often in large directories.
type Pending struct {
	calls sys.FS
	swept *sweeper
	name  string
	perm  fs.FileMode

	mu       sync.Mutex
	temp     string // its name, in the same directory as name
	file     sys.File
	closed   bool
	firstNew int   // components of the directory from here on were missing; their names are to be synced
	done     bool  // committed, or not to be committed any more
	err      error // the result of whatever made it done, or of a Write
}

// swept is shared by all writers of the process. It only saves work.
var swept sweeper

// NewPending begins a file that will be at name, with mode perm before umask(2).
// Missing parents are made as [Create] does.
func NewPending(name string, perm fs.FileMode) (*Pending, error) {
	p := newPending(sys.OS{}, name, perm)
	p.swept = &swept
	if err := p.begin(); err != nil {
		return nil, err
	}
	p.swept.visit(p.calls, dirOf(name))
	return p, nil
}

func newPending(calls sys.FS, name string, perm fs.FileMode) *Pending {
	return &Pending{calls: calls, name: name, perm: perm, firstNew: 1 << 30}
}

// begin opens a new temporary file, by another name at each try: over NFS the
// first may have succeeded without saying so.
func (p *Pending) begin() error {
	c := creator{calls: p.calls, noticeMissing: p.noticeMissing, swept: p.swept}
	if err := c.create(p.name, nil, func(string) error { return p.open() }); err != nil {
		return p.wrap("create", err)
	}
	return nil
}

func (p *Pending) open() error {
	temp := join(dirOf(p.name), tempName())
	f, err := p.calls.Open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL|sys.NoFollow, p.perm)
	if err == nil {
		p.file, p.temp = f, temp
	}
	return err
}

func (p *Pending) wrap(op string, err error) error {
	if _, ok := err.(*fs.PathError); ok {
		return err
	}
	return &fs.PathError{Op: op, Path: p.name, Err: err}
}

// noticeMissing remembers what will be made, by us or by somebody else who may not
// have synced it yet when we commit.
func (p *Pending) noticeMissing(dir string) {
	m := newMaker(p.calls, dir, 0)
	first := m.firstMissing(0, len(m.ends))
	if first == len(m.ends) {
		first = 0 // somebody has just made it, and there is no telling how much of it
	}
	p.firstNew = min(p.firstNew, first)
}

// Write appends to the file. After an error nothing can be committed any more.
func (p *Pending) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done || p.err != nil {
		return 0, p.wrap("write", cmp.Or(p.err, fs.ErrClosed))
	}
	n, err := p.file.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		p.err = p.wrap("write", err)
	}
	return n, p.err
}

// Commit makes the file appear at name, in place of any file that is there, and
// returns when it will survive a crash: the data are synced, the name, and the names
// of all parents that were missing when they were needed. If the directory was
// removed meanwhile, it is made again, and the file is written again if need be.
//
// After an error before the rename nothing has changed and the file is discarded;
// in particular, a failed fsync is never repeated, since the kernel may have dropped
// the data (fsync(2)). If a directory cannot be synced after it, the error wraps
// [ErrNotDurable]: the new file is there. A directory that is gone by then, file and
// all, is no error: somebody removed it after it was there. Commit may be called
// again, and returns the same; after [Pending.Discard] it returns [fs.ErrClosed].
func (p *Pending) Commit() error { return p.commit(p.replace) }

// CommitNew is Commit, but replaces nothing: if there is anything at name, the
// error is [fs.ErrExist], and the file is discarded. Of many CommitNew for one
// name exactly one returns nil. Where the file system can neither rename without
// replacing nor make hard links, the error wraps [errors.ErrUnsupported].
func (p *Pending) CommitNew() error { return p.commit(p.publishNew) }

// ErrNotDurable is wrapped by errors of [WriteFile], [Pending.Commit] and
// [Pending.CommitNew] if the new file is in its place, but may not survive a crash.
var ErrNotDurable = errors.New("written, but not known to be durable")

func (p *Pending) commit(move func(name string) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return p.err
	}
	if p.err == nil {
		if err := p.file.Sync(); err != nil {
			p.err = p.wrap("sync", err)
		}
	}
	if p.err == nil && sys.CloseToRename {
		p.err = p.close()
	}
	if p.err == nil {
		c := creator{calls: p.calls, noticeMissing: p.noticeMissing, swept: p.swept}
		if err := c.create(p.name, nil, move); err != nil {
			p.err = p.wrap("commit", err)
		}
	}
	if p.err != nil {
		err := p.err
		p.discard()
		p.err = err
		return err
	}
	p.done = true
	if err := cmp.Or(p.syncDirs(), p.close()); err != nil {
		p.err = p.wrap("commit", fmt.Errorf("%w: %w", ErrNotDurable, err))
	}
	return p.err
}

// replace is rename(2), judged by what is at name afterwards: over NFS a call whose
// reply is lost is made twice, and the second one fails.
func (p *Pending) replace(name string) error {
	return p.moved(name, p.calls.Rename(p.temp, name), p.calls.Rename)
}

func (p *Pending) publishNew(name string) error {
	return p.moved(name, p.renameNew(p.temp, name), p.renameNew)
}

// renameNew falls back on link(2), which does not replace either.
func (p *Pending) renameNew(from, to string) error {
	err := p.calls.RenameNoReplace(from, to)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err := p.calls.Link(from, to); err != nil && !p.isAt(to) {
		return err
	}
	p.calls.Unlink(from)
	return nil
}

func (p *Pending) moved(name string, err error, move func(from, to string) error) error {
	if err == nil || p.isAt(name) {
		return nil
	}
	if absent(err) && !p.isAt(p.temp) {
		// The directory went and took the temporary file with it. If there is one again,
		// who made it may not have synced it.
		p.noticeMissing(dirOf(name))
		if err := p.rewrite(); err != nil {
			return err
		}
		if err = move(p.temp, name); err != nil && p.isAt(name) {
			return nil
		}
	}
	return err
}

// isAt reports whether name is the very file that was written.
func (p *Pending) isAt(name string) bool {
	at, err := p.calls.Lstat(name)
	if err != nil {
		return false
	}
	written, err := p.file.Stat()
	return err == nil && at.Same(written)
}

// rewrite copies what was written to a new temporary file. It does not make its
// directory: the caller's creator does.
func (p *Pending) rewrite() error {
	old := p.file
	if err := p.open(); err != nil {
		return err
	}
	defer old.Close()
	_, err := io.Copy(p.file, io.NewSectionReader(old, 0, 1<<62))
	return cmp.Or(err, p.file.Sync())
}

// syncDirs makes the names durable: that of the file, and of each directory that
// was missing.
func (p *Pending) syncDirs() error {
	dir := dirOf(p.name)
	m := newMaker(p.calls, dir, 0)
	err := p.calls.SyncDir(dir)
	for i := p.firstNew; i < len(m.ends); i++ {
		err = cmp.Or(err, p.calls.SyncDir(dirOf(m.prefix(i))))
	}
	if absent(err) {
		return nil
	}
	return err
}

func (p *Pending) close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	return p.file.Close()
}

// Discard gives the file up and removes the temporary one. After Commit, or a
// second time, it does nothing.
func (p *Pending) Discard() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil
	}
	return p.discard()
}

func (p *Pending) discard() error {
	p.done = true
	p.err = p.wrap("commit", fs.ErrClosed)
	err := p.calls.Unlink(p.temp)
	if closeErr := p.close(); err == nil || absent(err) {
		err = closeErr
	}
	if err != nil {
		return p.wrap("discard", err)
	}
	return nil
}
