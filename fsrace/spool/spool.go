// SPDX-License-Identifier: MIT

package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// Config says how one instance takes part in a spool. Its zero value is usable;
// instances with different Configs can share a spool.
type Config struct {
	// Label is what this instance calls itself in [Spool.Workers] and
	// [Spool.Entries], at most 1 KiB.
	Label string

	// MaxAttempts is how many claims of a job may end without Done, Fail or
	// Release (the worker died, or lost its lease, or called Retry) before the job
	// goes to failed. 0: 10. Negative: no bound.
	MaxAttempts int

	// Lease lets this instance reclaim from workers that cannot be proved dead,
	// such as those of other hosts, once they have not renewed their leases for
	// this long, or for as long as their own Lease if that is longer, on the clock
	// of this instance. It also promises that this one renews its own, three times
	// as often, for as long as it is open. It must exceed the longest time for
	// which a worker or the file server may stand still. 0: no promise, and
	// nothing but proof of death.
	Lease time.Duration

	// Rescan is how often a waiting Claim looks for jobs that other instances put
	// there, and for dead workers; for how long a job that this instance has
	// released is left to others first; and for how long a file dropped in by hand
	// must stay as it is to count as whole. 0: 1 s.
	Rescan time.Duration

	// Durable makes Done, Release and Retry return only when the job's move is
	// on disk. Without it, a power failure may undo the latest ones (as if the
	// worker had died just before them). Put and Fail are always durable.
	Durable bool

	// Observer opens the spool for Entries and Workers only: nothing is created,
	// registered or changed, and a read-only file system will do.
	Observer bool

	// Logger gets what happens to jobs and workers behind the caller's back. nil: silent.
	Logger *slog.Logger
}

// The parts of a spool: its directories.
const (
	tmpPart     = "tmp"     // being written
	newPart     = "new"     // waiting to be claimed
	claimedPart = "claimed" // being worked on
	donePart    = "done"
	failedPart  = "failed"  // with the reasons beside them
	workersPart = "workers" // records of the instances that are open
	retiredPart = "retired" // records of those that are closed, dead or silent
)

var parts = []string{tmpPart, newPart, claimedPart, donePart, failedPart, workersPart, retiredPart}

const maxLabel = 1 << 10 // a record, where a byte of it may take three, stays below maxText

const (
	formatFile = "format"
	format     = "sysprim spool 1"
)

// A Spool is one instance's view of a shared directory of jobs. It is safe for
// concurrent use.
type Spool struct {
	dir   string
	cfg   Config
	log   *slog.Logger
	fs    sys.FS
	owner fsrace.Owner
	moves atomic.Uint64 // (1) of file
	beats atomic.Uint64
	named atomic.Bool // a job may bear our nonce

	liveness func(fsrace.Owner) fsrace.Liveness

	jobs    candidates
	wake    chan struct{} // buffers one token: a job came to new
	waiting atomic.Int64  // Claims that wait for a token

	close    sync.Once
	closeErr error
	closing  chan struct{}
	beaten   sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	held      map[string]*Claim    // by file name in claimed, from before the move to it until after the move away
	released  map[string]time.Time // job id: when this instance may have it again
	judged    map[string]lease     // by nonce
	reclaimed time.Time            // when jobs were last reclaimed
	swept     time.Time            // when all workers were last looked at
}

// Open takes part in the spool in dir, which it creates if dir is missing or
// empty, and registers this instance for [Spool.Workers]. Call Close at the end.
//
// It returns a [*FormatError] if dir is of an unknown version, or holds something
// that belongs to no spool; a [*LayoutError] if the parts of the spool are on
// different mounts, or are not directories, or the file system is read-only.
// As an Observer it makes nothing, so what is no spool yet is a [*FormatError] too.
func Open(dir string, cfg Config) (*Spool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if !cfg.Observer {
		if err := fsrace.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	}
	return open(dir, cfg, sys.OS{})
}

func open(dir string, cfg Config, fsys sys.FS) (*Spool, error) {
	if cfg.Lease < 0 || cfg.Rescan < 0 {
		return nil, fmt.Errorf("spool: negative Lease or Rescan: %w", fs.ErrInvalid)
	}
	if len(cfg.Label) > maxLabel {
		return nil, fmt.Errorf("spool: Label of %d bytes, %d are allowed: %w", len(cfg.Label), maxLabel, fs.ErrInvalid)
	}
	if cfg.MaxAttempts == 0 {
		cfg.MaxAttempts = 10
	}
	if cfg.Rescan == 0 {
		cfg.Rescan = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Spool{
		dir:      dir,
		cfg:      cfg,
		fs:       fsys,
		owner:    fsrace.Self(cfg.Label),
		liveness: fsrace.Owner.Liveness,
		wake:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		held:     map[string]*Claim{},
		released: map[string]time.Time{},
		judged:   map[string]lease{},
	}
	s.log = cfg.Logger.With("spool", dir, "worker", s.owner.Nonce)
	s.jobs.s = s
	if err := s.checkFormat(); err != nil {
		return nil, err
	}
	if cfg.Observer {
		return s, nil
	}
	if err := s.checkLayout(); err != nil {
		return nil, err
	}
	if err := s.register(true); err != nil {
		return nil, fmt.Errorf("spool: register: %w", err)
	}
	if cfg.Lease > 0 {
		s.beaten.Go(s.renew)
	}
	return s, nil
}

// checkFormat also makes a spool of an empty directory. The format file comes
// before all parts but tmp, so that what was begun can be told from what is alien.
func (s *Spool) checkFormat() error {
	text, err := s.readFile(filepath.Join(s.dir, formatFile))
	if err == nil {
		if text != format+"\n" {
			first, _, _ := strings.Cut(text, "\n")
			return &FormatError{Dir: s.dir, Found: first}
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", &fs.PathError{Op: "read", Path: filepath.Join(s.dir, formatFile), Err: err})
	}
	if s.cfg.Observer {
		return &FormatError{Dir: s.dir}
	}
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("spool: %w", &fs.PathError{Op: "read", Path: s.dir, Err: err})
	}
	for _, name := range names {
		if !belongs(name) {
			return &FormatError{Dir: s.dir, Alien: name}
		}
	}
	if err := s.mkdir(tmpPart); err != nil {
		return err
	}
	// A spool that has a format lasts, and so do the directories that lead to it,
	// which may be as new: no job is more durable than they are.
	for dir := s.dir; dir != filepath.Dir(dir); {
		dir = filepath.Dir(dir)
		if err := s.fs.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return &LayoutError{s.dir, ".", err}
		}
	}
	if err := s.publish(".", formatFile, "format", format+"\n", true); err != nil {
		return &LayoutError{s.dir, formatFile, err}
	}
	return nil
}

// belongs reports whether a directory that holds name may still become a spool.
func belongs(name string) bool {
	if name[0] == '.' || name == "lost+found" || name == formatFile {
		return true
	}
	return slices.Contains(parts, name)
}

func (s *Spool) mkdir(part string) error {
	err := s.fs.Mkdir(s.path(part, ""), 0o777)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return &LayoutError{s.dir, part, err}
	}
	return nil
}

// checkLayout makes what is missing, and then proves that rename works from tmp to
// each part, without a trace: the kernel tells EXDEV and EROFS before it looks for
// the file (Linux, do_renameat2), which does not exist.
func (s *Spool) checkLayout() error {
	var dev uint64
	for _, part := range parts {
		if err := s.mkdir(part); err != nil {
			return err
		}
		info, err := s.fs.Lstat(s.path(part, ""))
		switch {
		case err != nil:
			return &LayoutError{s.dir, part, err}
		case !info.IsDir():
			return &LayoutError{s.dir, part, fmt.Errorf("is %v, not a directory", info.Mode)}
		case part == tmpPart:
			dev = info.Dev
		case info.Dev != dev:
			return &LayoutError{s.dir, part, fmt.Errorf("is on another file system than %s", tmpPart)}
		}
		probe := ".probe" + sep + s.owner.Nonce
		if err := s.fs.Rename(s.path(tmpPart, probe), s.path(part, probe)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &LayoutError{s.dir, part, fmt.Errorf("cannot be renamed to from %s: %w", tmpPart, err)}
		}
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return &LayoutError{s.dir, ".", err}
	}
	return nil
}

// usable says why nothing can be changed through s, if so.
func (s *Spool) usable() error {
	if s.cfg.Observer {
		return ErrObserver
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	return nil
}

func (s *Spool) path(part, base string) string {
	const slash = string(os.PathSeparator)
	if base == "" {
		return s.dir + slash + part
	}
	return s.dir + slash + part + slash + base
}

// moved is f by the name that this instance's next move gives it.
func (s *Spool) moved(f file) file {
	s.named.Store(true)
	f.worker, f.move = s.owner.Nonce, s.moves.Add(1)
	return f
}

func newID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails, since Go 1.24
	return hex.EncodeToString(b[:])
}
