// SPDX-License-Identifier: MIT

package spool

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// window is how many names are read ahead: enough to make the reading cheap and
// the shuffle thorough, few enough to forget.
const window = 1024

// candidates hands out names from new, each once in a pass over the directory. It
// reads the directory on from where it was, a window at a time, so that a claim
// among 100,000 jobs costs no more than one among a thousand.
type candidates struct {
	s       *Spool
	shuffle func(names []string) // nil: at random, so that instances start at different jobs

	mu      sync.Mutex
	names   []string // the rest of the window
	dir     *os.File // nil: between passes, or all was read at once
	reading bool     // a pass has begun
	closed  bool
	skipped bool // this pass has left names out, so it cannot prove anything
	lost    int  // races lost in a row
	races   int  // and in all
	pass    int
	foreign map[string]settling // files dropped in by hand
}

// A settling file may still be being written: cp(1) and scp(1) write in place.
type settling struct {
	size, mtime int64
	since       time.Time // unchanged since, by our clock: the file's is another's
	pass        int       // seen in this one
	invalid     bool
}

// next returns the next name, or io.EOF at the end of a pass that left out none.
func (c *candidates) next() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.names) > 0 {
			base := c.names[len(c.names)-1]
			c.names = c.names[:len(c.names)-1]
			if c.ready(base) {
				return base, nil
			}
		}
		err := c.read()
		if err == io.EOF && c.skipped {
			c.skipped = false
			continue
		}
		if err != nil {
			return "", err
		}
	}
}

// midway reports whether a pass has begun, which may have missed what came since.
func (c *candidates) midway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reading
}

// read fills the window, or ends the pass with io.EOF.
func (c *candidates) read() (err error) {
	switch {
	case c.closed:
		err = fs.ErrClosed
	case !c.reading:
		err = c.begin()
	case c.dir != nil:
		c.names, err = c.dir.Readdirnames(window)
	default:
		err = io.EOF
	}
	if err != nil {
		c.end()
		return err
	}
	if c.shuffle != nil {
		c.shuffle(c.names)
	} else {
		rand.Shuffle(len(c.names), func(i, j int) { c.names[i], c.names[j] = c.names[j], c.names[i] })
	}
	return nil
}

func (c *candidates) begin() error {
	path := c.s.path(newPart, "")
	f, err := c.s.fs.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	c.reading, c.skipped, c.lost = true, false, 0
	c.pass++
	if c.dir = sys.OSFile(f); c.dir != nil {
		return nil
	}
	f.Close()
	c.names, err = c.s.fs.ReadDir(path)
	return err
}

func (c *candidates) end() {
	if c.dir != nil {
		c.dir.Close()
	}
	c.dir, c.reading, c.names = nil, false, nil
	for base, f := range c.foreign {
		if f.pass < c.pass-1 { // one miss is no proof of absence
			delete(c.foreign, base)
		}
	}
}

func (c *candidates) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.end()
}

// won and raced tell how the last candidates went. Instances that work through
// the same window lose more and more races in it, so each loss in a row skips
// twice as many names, on to where the others are not.
func (c *candidates) won() {
	c.mu.Lock()
	c.lost = 0
	c.mu.Unlock()
}

func (c *candidates) raced() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.races++
	c.lost = min(c.lost+1, 16)
	if n := len(c.names); n > 16 {
		c.names = c.names[:max(0, n-1<<c.lost)]
		c.skipped = true
	}
}

// ready reports whether base may be claimed now. The name of a file that no
// spool has given it came without rename, so it must stand still for Rescan.
func (c *candidates) ready(base string) bool {
	if base[0] == '.' {
		return false
	}
	if _, ok := parseFile(base); ok {
		return true
	}
	path := c.s.path(newPart, base)
	info, err := c.s.fs.Lstat(path)
	if err != nil || !info.Mode.IsRegular() {
		return false
	}
	// Over NFS that was from a cache; open asks the server, if it lets us.
	if f, err := c.s.fs.Open(path, os.O_RDONLY|sys.NoFollow|sys.NonBlock, 0); err == nil {
		info, err = f.Stat()
		f.Close()
		if err != nil {
			return false
		}
	}
	now, old := time.Now(), c.foreign[base]
	f := settling{info.Size, info.Mtime, old.since, c.pass, old.invalid}
	if old.pass == 0 || f.size != old.size || f.mtime != old.mtime {
		f.since = now
	}
	if err := checkName(base); err != nil && !f.invalid {
		f.invalid = true
		c.s.log.Warn("spool: a file in new cannot be claimed", "err", err)
	}
	if !f.invalid && now.Sub(f.since) >= c.s.cfg.Rescan {
		delete(c.foreign, base)
		return true
	}
	if c.foreign == nil {
		c.foreign = map[string]settling{}
	}
	c.foreign[base] = f
	return false
}
