// SPDX-License-Identifier: MIT

package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// Claim claims one job, whichever: there is no order. While it finds none it
// looks again every [Config.Rescan] or sooner, and reclaims what the dead have
// left, until there is one. It returns [context.Cause] once ctx is done, and an
// error that wraps [fs.ErrClosed] once the spool is closed.
//
// Any other error is the file system's, and final only if it comes again: there are
// jobs, and none of them can be moved (the directory is read-only or gone, a file
// dropped in by hand is somebody else's in a sticky directory). They are in nobody's
// way as long as there are others.
func (s *Spool) Claim(ctx context.Context) (*Claim, error) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.reclaimEvery(10 * s.cfg.Rescan) // even if there is always something to do
		c, err := s.claim(false)
		if err == nil {
			if s.waiting.Load() > 1 {
				s.signal() // there may be more: pass the token on
			}
			return c, nil
		}
		if !errors.Is(err, ErrEmpty) {
			return nil, err
		}
		if s.reclaimEvery(s.cfg.Rescan) > 0 {
			continue
		}
		// Not all at once: a random half keeps instances from looking in step.
		timer := time.NewTimer(s.cfg.Rescan/2 + rand.N(s.cfg.Rescan/2+1))
		select {
		case <-ctx.Done():
		case <-s.closing:
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// TryClaim claims one job, whichever, or returns [ErrEmpty] if it finds none in
// two whole readings of the directory. It does not wait, and does not reclaim.
//
// A job that this instance has released is offered to it last, and by Claim only
// after a rest of twice [Config.Rescan], so that another may take it.
func (s *Spool) TryClaim() (*Claim, error) { return s.claim(true) }

// Jobs whose renames fail are passed over, but if this many fail in one call it is
// not the jobs' fault.
const maxFailures = 8

func (s *Spool) claim(evenReleased bool) (*Claim, error) {
	if err := s.usable(); err != nil {
		return nil, fmt.Errorf("spool: claim: %w", err)
	}
	var failed []error
	var released []string
	passes := 2
	if s.jobs.midway() {
		passes++
	}
	for passes > 0 && len(failed) < maxFailures {
		base, err := s.jobs.next()
		if err == io.EOF {
			passes--
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("spool: claim: %w", err)
		}
		if s.resting(base) {
			if len(released) < window {
				released = append(released, base)
			}
			continue
		}
		c, err := s.take(base)
		if err == nil {
			return c, nil
		}
		if err != errGone {
			failed = append(failed, err)
		}
	}
	if evenReleased {
		for _, base := range released {
			if c, err := s.take(base); err == nil {
				return c, nil
			}
		}
	}
	if len(failed) > 0 {
		return nil, fmt.Errorf("spool: claim: %w", failed[0])
	}
	return nil, ErrEmpty
}

// take claims the file of that name in new, if it is there.
func (s *Spool) take(base string) (*Claim, error) {
	job, ok := parseFile(base)
	if !ok {
		job = file{name: base, id: newID()}
	}
	job = s.moved(job.claimed())
	c := &Claim{s: s, job: job, base: job.String(), exit: s.moves.Add(1)}
	c.mu.Lock() // until it is known whether there is a claim: Close would end it
	defer c.mu.Unlock()
	if err := s.hold(c); err != nil {
		return nil, err
	}
	err := s.move(s.path(newPart, base), s.path(claimedPart, c.base))
	if err == nil {
		s.jobs.won()
		return c, nil
	}
	c.ended = verbLost
	s.drop(c)
	if err == errGone {
		s.jobs.raced()
	}
	return nil, err
}

// hold notes a claim before it is made, and drop forgets one after it has ended,
// so that a file in claimed that bears our nonce and is not held is known to be of
// a claim that was made though all that was asked said it was not.
func (s *Spool) hold(c *Claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	s.held[c.base] = c
	return nil
}

func (s *Spool) drop(c *Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, c.base)
}

// resting reports whether base is a job that this instance has given back lately.
func (s *Spool) resting(base string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.released) == 0 {
		return false
	}
	job, _ := parseFile(base)
	until, ok := s.released[job.id]
	if ok && !time.Now().Before(until) {
		delete(s.released, job.id)
		return false
	}
	return ok
}

// rest keeps a released job from this instance for two rescans, so that every
// other idle one looks at least once before.
func (s *Spool) rest(job file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.released)%window == window-1 {
		for id, until := range s.released {
			if !now.Before(until) {
				delete(s.released, id)
			}
		}
	}
	s.released[job.id] = now.Add(2 * s.cfg.Rescan)
}

// signal wakes one waiting Claim, now or the next that waits.
func (s *Spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// A Claim is a job that this instance holds, and nobody else. One of Done,
// Release, Retry and Fail ends it. It is safe for concurrent use.
//
// The first of them that succeeds decides: the same again returns nil, another one
// an error that wraps [fs.ErrClosed], so a deferred Release does no harm. If the
// claim was reclaimed or evicted meanwhile, all return [ErrClaimLost]. After any
// other error the claim is still held, and the call can be repeated.
type Claim struct {
	s    *Spool
	job  file
	base string // its name in claimed
	exit uint64 // the move that ends it, whichever that is

	mu    sync.Mutex
	ended string // the verb that ended it
}

// Name returns the name of the job.
func (c *Claim) Name() string { return c.job.name }

// ID returns what tells this job from all others: the same in every attempt, so it
// can serve as an idempotency key where the work has effects outside the spool.
func (c *Claim) ID() string { return c.job.id }

// Attempt returns how many attempts this job has had, with this one: 1 at first.
// Claims that were released do not count.
func (c *Claim) Attempt() int { return int(c.job.attempt) }

// Generation returns how many claims this job has had, with this one and those that
// were released. It grows with every claim, so it can serve as a fencing token: a
// resource that refuses a generation below the highest it has seen is safe from a
// worker that woke up too late.
func (c *Claim) Generation() int { return int(c.job.generation) }

// Owner returns the record of this instance, as others see it in [Spool.Entries].
func (c *Claim) Owner() fsrace.Owner { return c.s.owner }

// Check returns [ErrClaimLost] if the claim is not this instance's any more, and
// nil if it was at the time of the call: ask before an effect outside the spool.
func (c *Claim) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != "" {
		return c.closed("check")
	}
	// Not Lstat: over NFS only open asks the server (nfs(5), close-to-open).
	f, err := c.s.fs.Open(c.s.path(claimedPart, c.base), os.O_RDONLY|sys.NoFollow|sys.NonBlock, 0)
	if isGone(err) {
		err = ErrClaimLost
	}
	if err != nil {
		return c.wrap("check", err)
	}
	return c.wrap("check", f.Close())
}

// Open opens the job's content for reading. It does not follow symbolic links and
// opens nothing but regular files, which a file dropped in by hand may not be.
// Close the file before the claim ends: Windows does not rename open files.
func (c *Claim) Open() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != "" {
		return nil, c.closed("open")
	}
	path := c.s.path(claimedPart, c.base)
	f, err := os.OpenFile(path, os.O_RDONLY|sys.NoFollow|sys.NonBlock, 0)
	if isGone(err) {
		return nil, c.wrap("open", ErrClaimLost)
	}
	if err != nil {
		return nil, c.wrap("open", err)
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		if err == nil {
			err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
		}
		return nil, c.wrap("open", err)
	}
	return f, nil
}
