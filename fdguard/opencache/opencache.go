// SPDX-License-Identifier: MIT

// Package opencache keeps files open between uses, so that serving one again costs
// no open, no close and no path walk.
//
// [Cache.FileSystem] goes behind an unmodified [net/http.FileServer]. Every caller
// gets its own handle on a shared descriptor, with its own offset and its own Close;
// the file goes to the socket by sendfile(2) as from [net/http.Dir].
//
//	cache, err := opencache.New("/srv/www", opencache.Config{})
//	...
//	http.Handle("/", http.FileServer(cache.FileSystem()))
//
// # Guarantees
//
//   - A file that is replaced, by rename(2) over it or by removal, is served whole
//     from the old or from the new one, and from the new one for every Open that
//     begins [Config.Valid] after the replacement. Size and time of modification are
//     asked of the descriptor that is served at each Stat, with fstat(2), so that
//     Content-Length fits also where a file was changed in place.
//   - Eviction never closes a file in use: it gives back the cache's own reference,
//     and the last handle closes the descriptor, once.
//   - Names are opened by the rules of [os.Root]: neither ".." nor a symbolic link
//     leads out of the root. Links within the root are followed.
//   - Callers who ask for a file that is being opened wait for that one open. A wait
//     ends with its context, and what it would have got is given back.
//   - When the process runs out of descriptors the cache gives up its own before it
//     fails an Open, and what eats into [Config.Reserve] it gives back at the next
//     open, or within a tenth of a second at a hit.
//   - Errors are not remembered. A file that appears is found at once.
//   - There is no goroutine but that of an open for a caller with a context, and no
//     timer while nothing is kept.
//
// A Cache and the handles from it may be used from any goroutine.
//
// # Cost
//
// A hit is a map look-up, a used handle, one fstat(2), and to send, two lseek(2) and
// sendfile(2). The first 512 bytes, which net/http reads to find the type and again to
// send them with the header, come from memory if the file was not changed for two
// seconds: no open, no read, no close. What net/http asks of the file system for one
// request took 1.0 µs and one allocation, of http.Dir 3.1 µs and nine
// (BenchmarkRequest), on a small virtual machine where system calls are cheap.
//
// The rest of a request is net/http's and the socket's, and ten times as much. Server
// CPU time per request beside http.Dir as 1.00, and that of a file system whose files
// cost nothing, below which no cache can get (BenchmarkServe measures both for yours):
//
//	             512 B   4 KiB  16 KiB  64 KiB   1 MiB
//	opencache     0.79    0.83    0.85    0.85    0.95
//	free files    0.73    0.77    0.79    0.78    0.96
//
// At 1 MiB an open no longer matters. Beside http.FileServerFS, which copies, it was
// 0.44 at 64 KiB and 0.30 at 1 MiB.
//
// A kept file takes a descriptor and 512 bytes. One that several clients were sent at
// once keeps up to four more descriptors to send from. What FileSystem and FS give out
// is tracked under the stack of the first request that used the handle; what Open
// gives out, under its caller's.
//
// # What it does not do
//
//   - It cannot make a write in place atomic. Who truncates a file and writes it again
//     is served as by [net/http.Dir]: what the file is when it is asked for, half
//     written if so. If it changes while it is sent, the length stays the announced
//     one: a reply from a file that shrinks is cut off, and so fails at the client; one
//     from a file that grows ends where it ended; one from a file that is overwritten
//     has old and new bytes. Write to a temporary file and rename it.
//   - A program that writes through mmap(2) leaves no trace of all but its first write
//     since the last writeback. The first 512 bytes can be from before such a write for
//     as long as Valid, while the rest is not.
//   - Max bounds what the cache keeps, not what is open: a handle in use keeps its
//     file open after eviction, and sending one file to several clients at once takes
//     a descriptor for each.
//   - Closing any descriptor of a file drops the POSIX record locks that the process
//     has on it (fcntl(2), F_SETLK), and the cache closes when it evicts. A file that
//     the process locks, a database say, is none to serve: see [Config.Exclude].
//   - The root is the directory that it was when New opened it, whatever its name
//     means later. A deploy that swaps a symbolic link called like the root is not
//     seen; make the link a relative one within the root.
//   - Directories, FIFOs, sockets and devices are opened anew each time, but for a
//     directory that is asked for to serve its index.html, and so for its name alone.
//   - A file on a file system that hangs hangs its own callers, and no others.
//
// # Platforms
//
// Reserve needs to know what the process has open, which Linux tells since 6.2, as the
// size of /proc/self/fd; elsewhere, and without /proc, only Max and running out bound
// the cache. Without /proc, too, handles that share a descriptor are copied to the
// socket, not sent with sendfile. The first bytes are kept on Linux alone. On Windows a
// file that is kept open may not be replaced or removed until it is evicted, depending
// on how it is done: keep Inactive short there.
package opencache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A Config bounds a Cache. The zero value is the documented default. It must not be
// changed once New was called.
type Config struct {
	// Max is how many files are kept open. 0: 1024.
	Max int
	// Valid is how long an open file is believed to be the one of its name. The next
	// Open after that looks, with stat(2). 0: 1 s; negative: every Open looks.
	Valid time.Duration
	// Inactive is how long a file is kept since its last Open. 0: 1 min.
	Inactive time.Duration
	// MinUses is how many times a file must be opened, never Inactive apart, to be
	// kept. 0: 1.
	MinUses int
	// Reserve is how many descriptors of the soft limit (RLIMIT_NOFILE) the cache
	// leaves to the rest of the process. What is open is counted before each file is
	// opened, and on hits up to ten times a second, because sending opens more. 0: a
	// quarter; negative: none. Linux before 6.2, and other systems, cannot tell: none.
	Reserve int
	// Exclude reports whether a file must not be opened: Open gives [fs.ErrNotExist].
	// It is called with the slash-separated name within the root, "." for the root,
	// from any goroutine. nil: none. It sees the name that was asked for, not what a
	// symbolic link leads to.
	Exclude func(name string) bool
}

func (cfg Config) withDefaults() (Config, error) {
	for field, v := range map[string]int64{"Max": int64(cfg.Max), "Inactive": int64(cfg.Inactive), "MinUses": int64(cfg.MinUses)} {
		if v < 0 {
			return cfg, fmt.Errorf("opencache: Config.%s is negative: %w", field, fs.ErrInvalid)
		}
	}
	if cfg.Max == 0 {
		cfg.Max = 1024
	}
	if cfg.Valid == 0 {
		cfg.Valid = time.Second
	}
	if cfg.Inactive == 0 {
		cfg.Inactive = time.Minute
	}
	return cfg, nil
}

// A Cache keeps files below one directory open. Make it with [New].
type Cache struct {
	root *os.Root
	cfg  Config
	sys  system

	mu      sync.Mutex // never held across a system call that a file system answers
	closed  bool
	entries map[string]*entry
	kept    list.List // of *entry with a file, most recently used first
	seen    list.List // of *entry without one, which lack uses
	flights map[string]*flight
	timer   *time.Timer // set while anything is in kept or seen
	counted time.Time   // when a hit last looked at the reserve
	stats   Stats
	doomed  []*fdguard.File // given up; closed by unlock
}

// Stats counts what a Cache did since it was made.
type Stats struct {
	Kept        int    `json:"kept"`        // files in the cache now
	Hits        uint64 `json:"hits"`        // Opens that needed no system call
	Misses      uint64 `json:"misses"`      // files opened, or tried to
	Shared      uint64 `json:"shared"`      // Opens that waited for another's
	Revalidated uint64 `json:"revalidated"` // files found unchanged after Valid
	Replaced    uint64 `json:"replaced"`    // files found changed, replaced or gone after Valid
	Evicted     uint64 `json:"evicted"`     // files given up: Max, Inactive, Reserve, or no descriptor left
	Exhausted   uint64 `json:"exhausted"`   // times an open failed for want of descriptors
}

// New returns a Cache of the files below the directory root, which it keeps open
// until Close. A Config field out of range gives an error that wraps [fs.ErrInvalid].
func New(root string, cfg Config) (*Cache, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("opencache: %w", err)
	}
	return newCache(dir, cfg, systemOf(dir)), nil
}

func newCache(root *os.Root, cfg Config, sys system) *Cache {
	return &Cache{
		root: root, cfg: cfg, sys: sys,
		entries: make(map[string]*entry),
		flights: make(map[string]*flight),
	}
}

// Open is [Cache.OpenContext] without a context.
func (c *Cache) Open(name string) (*fdguard.File, error) {
	return c.OpenContext(context.Background(), name)
}

// OpenContext returns a handle on the named file for reading, which the caller must
// close. The name is slash-separated and relative to the root, with or without a
// leading slash; it is cleaned first, so that ".." stops at the root.
//
// OpenContext may block as open(2) does, and gives up waiting with the context's cause. The
// open itself is not given up; another caller may want it. Errors are or wrap
// [*fs.PathError], and wrap [fs.ErrNotExist], [fs.ErrClosed] after Close, [ErrEscapes],
// [fs.ErrInvalid] for a name the system cannot have, and so on.
func (c *Cache) OpenContext(ctx context.Context, name string) (*fdguard.File, error) {
	key, err := c.key(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f, err := c.open(ctx, key)
	if err == nil {
		return f, nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); !ok {
		err = &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return nil, err
}

// key returns the clean name within the root.
func (c *Cache) key(name string) (string, error) {
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	key := path.Clean(name)[1:]
	if key == "" {
		key = "."
	}
	if _, err := filepath.Localize(key); err != nil {
		return "", fs.ErrInvalid
	}
	if c.cfg.Exclude != nil && c.cfg.Exclude(key) {
		return "", fs.ErrNotExist
	}
	return key, nil
}

func (c *Cache) open(ctx context.Context, name string) (*fdguard.File, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, fs.ErrClosed
		}
		if e, due := c.hit(name, time.Now()); e != nil {
			shared := e.file
			c.mu.Unlock()
			f, err := shared.Clone()
			if due {
				c.yield()
			}
			if errors.Is(err, fs.ErrClosed) {
				c.drop(name, shared)
				continue
			}
			return f, err
		}
		fl, first := c.board(name)
		c.mu.Unlock()

		switch {
		case !first:
		case ctx.Done() == nil:
			c.fly(fl)
		default:
			go c.fly(fl)
		}
		f, err := c.await(ctx, fl)
		if errors.Is(err, errNotShared) {
			f, _, err = c.openFile(name)
		}
		return f, err
	}
}

// Stats returns the counts so far.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Kept = c.kept.Len()
	return s
}

// Close gives up all files. Handles in use stay valid; further Opens give
// [fs.ErrClosed]. Close is idempotent and does not wait for Opens in progress.
func (c *Cache) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	for _, e := range c.entries {
		c.remove(e)
	}
	return errors.Join(c.unlock(), c.root.Close())
}
