// SPDX-License-Identifier: MIT

package fsrace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

var (
	// ErrNotHeld is returned by [Holder] if nobody holds the lock.
	ErrNotHeld = errors.New("fsrace: lock is not held")
	// ErrLockLost is returned by [Lock.Check] if the lock file is no longer the one that was locked.
	ErrLockLost = errors.New("fsrace: lock file was replaced or removed")
	// ErrNoLocks says that the platform or the file system has no locks (flock(2)). It
	// wraps [errors.ErrUnsupported].
	ErrNoLocks = fmt.Errorf("no file locks here: %w", errors.ErrUnsupported)
)

// A HeldError says that somebody else holds a lock.
type HeldError struct {
	Name  string
	Owner Owner // the zero Owner if the holder has not written its record yet
}

func (e *HeldError) Error() string {
	if e.Owner.PID == 0 {
		return "fsrace: lock " + e.Name + " is held"
	}
	return "fsrace: lock " + e.Name + " is held by " + e.Owner.String()
}

// A Lock is a held lock. It stays held until Release or the end of the process,
// also if no reference to it is left, and is never passed on to child processes.
// It is safe for concurrent use.
type Lock struct {
	calls sys.FS
	name  string
	owner Owner
	file  sys.File
	once  sync.Once
	err   error
}

// locks keeps every held lock from being collected, which would close its file and
// so drop the lock in silence.
var locks sync.Map // *Lock to nothing

// Acquire takes the lock called name, a file, and waits for it until ctx ends: then
// the error wraps [context.Cause] and the [*HeldError] of the last look. A lock that
// is free is taken even if ctx has ended. See [TryAcquire] for the rest.
//
// While it waits, Acquire tries again every 1 to 50 ms; there is no queue. It never
// waits inside the kernel, where a server's trouble could hold it for good.
func Acquire(ctx context.Context, name string) (*Lock, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		l, err := tryAcquire(sys.OS{}, name)
		if _, held := errors.AsType[*HeldError](err); !held {
			return l, err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return nil, fmt.Errorf("fsrace: waiting for a lock: %w: %w", context.Cause(ctx), err)
		}
	}
}

// TryAcquire takes the lock called name, a file, or returns a [*HeldError] that
// names the holder. It excludes other goroutines, processes, and hosts, as far as
// they share the file and the file system passes locks on (NFS since Linux 2.6.12;
// a file system that pretends to is beyond detection). Where there are no locks the
// error wraps [ErrNoLocks].
//
// The file is made if need be, with its parents, mode 0666 before umask(2), and
// holds the holder's [Owner] record and no more. It is never removed, by anybody:
// a lock whose file is removed can be held twice. A symbolic link, or anything but
// a regular file, is refused with an error that wraps [fs.ErrInvalid].
func TryAcquire(name string) (*Lock, error) {
	l, err := tryAcquire(sys.OS{}, name)
	held, ok := errors.AsType[*HeldError](err)
	// A holder that has only just locked gets a moment to write its record.
	for range 20 {
		if !ok || held.Owner.PID != 0 {
			break
		}
		time.Sleep(time.Millisecond)
		held.Owner, _, _ = holder(sys.OS{}, name)
	}
	return l, err
}

func tryAcquire(calls sys.FS, name string) (*Lock, error) {
	wrap := func(err error) error { return &fs.PathError{Op: "lock", Path: name, Err: err} }
	var r retry
	for {
		f, err := openLock(calls, name)
		if err != nil {
			if _, ok := err.(*fs.PathError); ok {
				return nil, err
			}
			return nil, wrap(err)
		}
		same, err := lockFile(calls, name, f)
		switch {
		case err == nil && same:
			l := &Lock{calls: calls, name: name, owner: Self(filepath.Base(os.Args[0])), file: f}
			if err := l.sign(); err != nil {
				f.Unlock()
				f.Close()
				return nil, wrap(err)
			}
			locks.Store(l, nil)
			return l, nil
		case err == syscall.EWOULDBLOCK:
			f.Close()
			owner, _, _ := holder(calls, name)
			return nil, &HeldError{Name: name, Owner: owner}
		}
		f.Close()
		if err != nil {
			return nil, wrap(err)
		}
		// The file was replaced before it was locked: what is locked is not name.
		r.progress()
		if !r.again() {
			return nil, wrap(ErrLockLost)
		}
	}
}

// openLock opens without O_CREATE first: in a sticky directory the kernel refuses
// that for files of other users (fs.protected_regular, proc_sys_fs(5)). O_NONBLOCK is
// for a pipe or a device that stands there.
func openLock(calls sys.FS, name string) (sys.File, error) {
	const flags = os.O_RDWR | sys.NoFollow | sys.NonBlock
	f, err := calls.Open(name, flags, 0)
	if absent(err) {
		c := creator{calls: calls}
		err = c.create(name, nil, func(name string) (err error) {
			f, err = calls.Open(name, flags|os.O_CREATE, 0o666)
			if errors.Is(err, fs.ErrPermission) { // somebody else may have made it just now
				if theirs, err := calls.Open(name, flags, 0); err == nil {
					f = theirs
					return nil
				}
			}
			return err
		})
	}
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("not a regular file: %w: %w", fs.ErrInvalid, err)
	}
	return f, err
}

// lockFile locks f, and reports whether it is the one at name.
func lockFile(calls sys.FS, name string, f sys.File) (same bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode.IsRegular() {
		return false, fmt.Errorf("%s, not a regular file: %w", describe(info), fs.ErrInvalid)
	}
	if err := f.TryLock(); err != nil {
		// ENOLCK: the server's lock daemon is off (flock(2), lockd).
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.EINVAL) {
			err = fmt.Errorf("%w (%w)", ErrNoLocks, err)
		}
		return false, err
	}
	at, err := calls.Lstat(name)
	if err != nil && !absent(err) {
		f.Unlock()
		return false, err
	}
	return at.Same(info), nil
}

// The record in a lock file is one line: the owner, a space, and a checksum of it,
// by which a reader knows that it did not read half of one record and half of
// another. It is written over the old one, and only then the rest is cut off.
func (l *Lock) sign() error {
	record := l.owner.String()
	line := fmt.Sprintf("%s %08x\n", record, crc32.ChecksumIEEE([]byte(record)))
	if _, err := l.file.WriteAt([]byte(line), 0); err != nil {
		return err
	}
	return l.file.Truncate(int64(len(line)))
}

// readRecord returns the owner whose whole record is in the file, if there is one.
func readRecord(calls sys.FS, name string) (o Owner, ok bool, err error) {
	f, err := calls.Open(name, os.O_RDONLY|sys.NoFollow|sys.NonBlock, 0)
	if err != nil {
		return Owner{}, false, err
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return Owner{}, false, err
	}
	line, _, ok := strings.Cut(string(b[:n]), "\n")
	record, sum, _ := strings.Cut(line, " ")
	if !ok || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(record))) {
		return Owner{}, false, nil
	}
	o, err = ParseOwner(record)
	return o, err == nil, nil
}

// holder is readRecord, of an owner that may still hold the lock.
func holder(calls sys.FS, name string) (o Owner, ok bool, err error) {
	o, ok, err = readRecord(calls, name)
	if !ok || o.Liveness() == Dead {
		return Owner{}, false, err
	}
	return o, true, nil
}

// Holder returns who holds the lock called name, or [ErrNotHeld]. It only reads the
// record in the file, and leaves the lock alone: a holder that has the lock since
// less than a moment may not be seen yet, and one that died on another host without
// releasing is still named, with [Unknown] for its Liveness. [TryAcquire] decides.
func Holder(name string) (Owner, error) {
	o, ok, err := holder(sys.OS{}, name)
	switch {
	case err != nil && !absent(err):
		return Owner{}, &fs.PathError{Op: "holder", Path: name, Err: err}
	case !ok:
		return Owner{}, ErrNotHeld
	}
	return o, nil
}

// Owner returns the record by which others see this lock held.
func (l *Lock) Owner() Owner { return l.owner }

// Name returns the name that the lock was acquired by.
func (l *Lock) Name() string { return l.name }

// Check returns nil while the lock excludes others. It returns an error that wraps
// [ErrLockLost] once its file has been replaced or removed, by which others can lock
// the new one, and [fs.ErrClosed] after Release.
func (l *Lock) Check() error {
	held, err := l.file.Stat()
	if err != nil {
		return &fs.PathError{Op: "check lock", Path: l.name, Err: cmp.Or(l.closed(), err)}
	}
	if at, err := l.calls.Lstat(l.name); err != nil && !absent(err) {
		return &fs.PathError{Op: "check lock", Path: l.name, Err: err}
	} else if !at.Same(held) {
		return &fs.PathError{Op: "check lock", Path: l.name, Err: ErrLockLost}
	}
	return nil
}

func (l *Lock) closed() error {
	if _, held := locks.Load(l); held {
		return nil
	}
	return fs.ErrClosed
}

// Release gives the lock up and leaves its file, empty. Calling it again does
// nothing and returns the same.
func (l *Lock) Release() error {
	l.once.Do(func() {
		locks.Delete(l)
		// The record goes first, or it could be the next holder's that is cut off. The
		// lock goes before the file is closed: a child between its fork and its exec has
		// a copy of the descriptor, which would keep the lock a little longer.
		l.err = cmp.Or(l.file.Truncate(0), l.file.Unlock(), l.file.Close())
	})
	return l.err
}
