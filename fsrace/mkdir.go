// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// MkdirAll makes the directory path, with all parents it lacks, like
// [os.MkdirAll], and no matter who makes, removes or replaces any of them at the
// same time. It returns nil if path was a directory, or a symbolic link to one, at
// some moment of the call, and an error only if it was none at the last look.
//
// perm, before umask(2), is for what has to be made; the parents among it also get
// write and search permission for their owner, as mkdir -p gives them. What exists
// already keeps its mode. Symbolic links are followed and ".." is taken as the
// kernel does: MkdirAll("a/../b") makes a as well. A dangling link is an error.
//
// What vanishes underway is made again: at once, then with pauses of up to 1 ms,
// for 10 s at most. Every other failure (ENOSPC, EDQUOT, EROFS, EACCES, EMLINK,
// ELOOP, …) ends the call at once. The error is a [*fs.PathError] that names the
// component at fault and wraps a [*MkdirError].
//
// MkdirAll costs one stat(2) if path exists, and a mkdir(2) besides if only the
// last component was missing. It syncs nothing: leave directories that must survive a
// crash of the machine to [WriteFile]. It is safe for concurrent use.
func MkdirAll(path string, perm fs.FileMode) error { return mkdirAll(sys.OS{}, path, perm) }

// MkdirAllIn is [MkdirAll] for name within root, however the directories and links
// below root are swapped meanwhile: nothing is made outside it, unless somebody moves
// a directory out just then. A name or a link that leads out of root is an error.
// Unlike [os.Root.MkdirAll] it follows links that stay inside, and makes again what
// others remove.
func MkdirAllIn(root *os.Root, name string, perm fs.FileMode) error {
	return mkdirAll(rootFS{root}, name, perm)
}

// A MkdirError says why a directory could not be made. It comes inside a
// [*fs.PathError] with Op "mkdir" and the component at fault as Path.
type MkdirError struct {
	Path     string // the directory that was asked for
	Attempts int    // 1, and one for each time that something vanished underway
	Found    string // what stands at the component now: "nothing", "a regular file", …
	Err      error  // why it could not be made, in most cases a syscall.Errno
}

func (e *MkdirError) Error() string {
	s := e.Err.Error() + " (for " + e.Path + "; there is " + e.Found
	if e.Attempts > 1 {
		s += "; " + plural(e.Attempts, "attempt")
	}
	return s + ")"
}

// Unwrap returns e.Err.
func (e *MkdirError) Unwrap() error { return e.Err }

// dirFS are the calls that making directories takes.
type dirFS interface {
	Stat(name string) (sys.Info, error)
	Lstat(name string) (sys.Info, error)
	Readlink(name string) (string, error)
	Mkdir(name string, perm fs.FileMode) error
	Chmod(name string, perm fs.FileMode) error
}

// Stat goes first because path mostly exists: it takes no lock, where a mkdir that
// fails takes the parent's. The maker, which allocates, is for when two calls do not do.
func mkdirAll(calls dirFS, path string, perm fs.FileMode) error {
	if i, err := calls.Stat(path); err == nil && i.IsDir() {
		return nil
	}
	if path == "" {
		return newMaker(calls, path, perm).fail(path, syscall.ENOENT)
	}
	err := calls.Mkdir(path, perm)
	if err == nil {
		return nil
	}
	return newMaker(calls, path, perm).make(err)
}

// A maker makes the components of one path: component i is path[:ends[i]].
type maker struct {
	calls   dirFS
	path    string
	perm    fs.FileMode
	ends    []int
	buf     [24]int // room for ends
	missing int     // components from here on were missing at the first look
	retry   retry
}

//go:noinline
func newMaker(calls dirFS, path string, perm fs.FileMode) *maker {
	m := &maker{calls: calls, path: path, perm: perm}
	m.ends = m.buf[:0]
	for i := len(filepath.VolumeName(path)); i < len(path); i++ {
		if !os.IsPathSeparator(path[i]) && (i+1 == len(path) || os.IsPathSeparator(path[i+1])) {
			m.ends = append(m.ends, i+1)
		}
	}
	m.missing = len(m.ends) - 1
	return m
}

func (m *maker) prefix(i int) string { return m.path[:m.ends[i]] }

// make walks a cursor over the components: down when one is there, up when its
// parent is not. It is done when the cursor has passed the last, for which err is
// what mkdir said at first.
func (m *maker) make(err error) error {
	last := len(m.ends) - 1
	if last < 0 {
		return m.fail(m.path, err)
	}
	i, made, ascending := last, -1, false
	for first := true; i <= last; first = false {
		perm := m.perm
		if i < last {
			perm |= 0o300
		}
		if !first {
			err = m.calls.Mkdir(m.prefix(i), perm)
		}
		switch {
		case err == nil:
			m.retry.progress()
			made, ascending = i, false
			i++
			continue
		case errors.Is(err, fs.ErrExist) && i < last && !ascending:
			// Somebody else is making the same tree. Whether this is a directory, the next
			// mkdir finds out for free.
			i++
			continue
		case errors.Is(err, fs.ErrNotExist) && i > 0:
			if m.retry.attempts == 0 && m.missing == last {
				i = m.firstMissing(0, i-1)
				m.missing = i
				continue
			}
			// The parent has vanished; or it only seems there, and ascending finds out.
			if !m.retry.again() {
				return m.fail(m.prefix(i), err)
			}
			i--
			ascending = true
			continue
		}
		switch at, state, why := m.look(i, err); state {
		case isDir:
			ascending = false
			i = at + 1
		case vanished:
			if !m.retry.again() {
				return m.fail(m.prefix(at), why)
			}
			i, ascending = at, true
		case blocked:
			if made == i-1 && i > 0 && errors.Is(err, fs.ErrPermission) && m.unmask(i-1) {
				continue
			}
			return m.fail(m.prefix(at), why)
		}
	}
	return nil
}

// firstMissing returns the least component from lo up to hi that is not there, or
// hi. A directory exists only if all before it do, so a binary search will do; what
// changes meanwhile, make notices.
func (m *maker) firstMissing(lo, hi int) int {
	return lo + sort.Search(hi-lo, func(i int) bool {
		_, err := m.calls.Stat(m.prefix(lo + i))
		return err != nil
	})
}

type state int

const (
	isDir    state = iota
	vanished       // something was there and is no more, or the other way round
	blocked        // something is there that will not go away by itself
)

// look finds out what component i is after mkdir of it gave err. If the trouble
// lies further up, at is the component that has it.
func (m *maker) look(i int, err error) (at int, _ state, why error) {
	name := m.prefix(i)
	info, statErr := m.calls.Stat(name)
	switch {
	case statErr == nil && info.IsDir():
		return i, isDir, nil
	case statErr == nil:
		return i, blocked, syscall.ENOTDIR
	case errors.Is(statErr, syscall.ENOTDIR) && i > 0:
		// Not this one, but one above is no directory, or was not a moment ago.
		at, state, why := m.look(i-1, err)
		if state == isDir {
			m.retry.progress()
			return at, vanished, err
		}
		return at, state, why
	case sys.Transient(err) || sys.Transient(statErr):
		return i, vanished, err
	case !errors.Is(statErr, fs.ErrNotExist):
		if errors.Is(err, fs.ErrExist) {
			err = statErr // it exists, and this is what is wrong with it
		}
		return sort.Search(i, func(j int) bool {
			_, err := m.calls.Stat(m.prefix(j))
			return err != nil && !errors.Is(err, fs.ErrNotExist)
		}), blocked, err
	case m.dangling(name):
		return i, blocked, err
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTDIR):
		m.retry.progress()
		return i, vanished, err
	}
	return i, blocked, err
}

// dangling reports whether name is a symbolic link to nothing. It does not go
// through name a second time, since that may be a link to a directory which somebody
// keeps removing and making: absent at the first look, present at the next.
func (m *maker) dangling(name string) bool {
	target, err := m.calls.Readlink(name)
	if err != nil {
		return false
	}
	if !filepath.IsAbs(target) {
		dir, _ := filepath.Split(name)
		target = dir + target // not Join: it would resolve .. before the kernel does
	}
	_, err = m.calls.Stat(target)
	return err != nil
}

// unmask gives the owner of component i, which this call made, write and search
// permission that the umask took away. Nobody but the directory's owner gains
// anything by it, so it does no harm should somebody have replaced it.
func (m *maker) unmask(i int) bool {
	name := m.prefix(i)
	info, err := m.calls.Lstat(name)
	if err != nil || !info.IsDir() || info.Mode&0o300 == 0o300 || info.UID != uint32(os.Geteuid()) {
		return false
	}
	return m.calls.Chmod(name, info.Mode.Perm()|0o300) == nil
}

// fail is the last look: it returns an error only if path is no directory now.
func (m *maker) fail(component string, err error) error {
	if i, err := m.calls.Stat(m.path); err == nil && i.IsDir() {
		return nil
	}
	return &fs.PathError{Op: "mkdir", Path: component, Err: &MkdirError{
		Path: m.path, Attempts: m.retry.attempts + 1, Found: m.found(component), Err: err,
	}}
}

func (m *maker) found(component string) string {
	info, err := m.calls.Lstat(component)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "nothing"
	case err != nil:
		return "something unknown: " + err.Error()
	case info.Mode&fs.ModeSymlink != 0:
		target, _ := m.calls.Readlink(component)
		if _, err := m.calls.Stat(component); err != nil {
			return "a symbolic link to " + target + ": " + err.Error()
		}
		return "a symbolic link to " + target
	}
	return describe(info)
}
