// SPDX-License-Identifier: MIT

package fsrace

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// join is filepath.Join without the cleaning: what "a/../b" means is for the
// kernel to say.
func join(dir, base string) string {
	if dir == filepath.VolumeName(dir) || os.IsPathSeparator(dir[len(dir)-1]) {
		return dir + base
	}
	return dir + string(filepath.Separator) + base
}

// hold makes dir, if need be, with a file of ours in it, so that it stays until
// that file is unlinked, and returns the file's name.
//
// Where dir is missing, the part of its path that is missing is built aside, file
// and all, and renamed into its place: no pruner ever sees it empty.
func (c *creator) hold(dir string) (holder string, err error) {
	base := tempName()
	holder = join(dir, base)
	for plainly := false; ; {
		f, err := c.calls.Open(holder, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			sweep(c.calls, dir)
			return holder, nil
		}
		if !absent(err) || !c.retry.again() {
			return "", &fs.PathError{Op: "create", Path: holder, Err: err}
		}
		if c.noticeMissing != nil {
			c.noticeMissing(dir)
		}
		if !plainly {
			err := c.graft(dir, base)
			if err == nil {
				c.retry.progress()
				return holder, nil
			}
			plainly = errors.Is(err, errors.ErrUnsupported)
		}
		if err := mkdirAll(c.calls, dir, 0o777); err != nil {
			return "", err
		}
	}
}

// graft builds the missing part of dir aside, with the file base in its deepest
// directory, and renames it to its place. Where somebody has made the first missing
// component meanwhile, it takes the next part of the tree to the place below, and
// in the end the file alone.
func (c *creator) graft(dir, base string) error {
	m := newMaker(c.calls, dir, 0o777)
	last := len(m.ends) - 1
	first := m.firstMissing(0, last+1)
	if first > last {
		return fs.ErrExist
	}
	from := make([]string, 0, last-first+2) // what goes to component first, first+1, …, and base
	parent := dirOf(m.prefix(first))
	sweep(c.calls, parent)
	aside := join(parent, tempName())
	defer removeTree(c.calls, aside)
	for i := first; i <= last; i++ {
		if i > first {
			aside += m.path[m.ends[i-1]:m.ends[i]]
		}
		if err := c.calls.Mkdir(aside, 0o777); err != nil {
			return err
		}
		from = append(from, aside)
	}
	f, err := c.calls.Open(join(aside, base), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	from = append(from, join(aside, base))
	for i, tree := range from {
		to := join(dir, base)
		if first+i <= last {
			to = m.prefix(first + i)
		}
		err = c.calls.RenameNoReplace(tree, to)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return err
}

// tempPrefix begins the name of every file and directory that this package makes
// for itself; the rest is the record of its owner, without the labels.
const tempPrefix = ".fsrace-"

func tempName() string {
	var nonce [8]byte
	rand.Read(nonce[:])
	id := self()
	return tempPrefix + Owner{
		BootID: id.boot, PIDNS: id.pidns, PID: os.Getpid(), Start: id.start, Nonce: hex.EncodeToString(nonce[:]),
	}.String()
}

// sweep removes from dir what processes that are certainly dead left behind.
// It returns how many names it had to look at.
func sweep(calls sys.FS, dir string) (looked int) {
	names, err := calls.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, name := range names {
		record, ours := strings.CutPrefix(name, tempPrefix)
		if !ours {
			continue
		}
		if owner, err := ParseOwner(record); err == nil && owner.Liveness() == Dead {
			removeTree(calls, join(dir, name))
		}
	}
	return len(names)
}

// removeTree removes name and what is below it, as far as it can, and follows no link.
func removeTree(calls sys.FS, name string) {
	i, err := calls.Lstat(name)
	if err != nil {
		return
	}
	if !i.IsDir() {
		calls.Unlink(name)
		return
	}
	names, _ := calls.ReadDir(name)
	for _, child := range names {
		removeTree(calls, join(name, child))
	}
	calls.Rmdir(name)
}

// A sweeper sweeps directories that are written often, and keeps what that costs
// each write below a constant: a directory of n entries is swept at the first write
// to it, and then every n/64th.
type sweeper struct {
	mu  sync.Mutex
	due map[string]int // writes left until a directory is due
}

func (s *sweeper) visit(calls sys.FS, dir string) {
	const entriesPerWrite, maxDirs = 64, 1024
	s.mu.Lock()
	due := s.due[dir]
	if s.due == nil || len(s.due) >= maxDirs {
		s.due = map[string]int{}
	}
	s.due[dir] = due - 1
	s.mu.Unlock()
	if due > 0 {
		return
	}
	looked := sweep(calls, dir)
	s.mu.Lock()
	s.due[dir] = looked / entriesPerWrite
	s.mu.Unlock()
}
