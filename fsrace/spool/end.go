// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"io/fs"
)

// The ways in which a claim ends.
const (
	verbDone    = "done"
	verbRelease = "release"
	verbRetry   = "retry"
	verbFail    = "fail"
	verbLost    = "lost"
)

// target is where a claim that ends with verb goes. All targets bear the same
// move: the claim leaves claimed once.
func (c *Claim) target(verb string) (part, base string) {
	to := c.job
	to.move = c.exit
	switch verb {
	case verbDone:
		part = donePart
	case verbFail:
		part = failedPart
	case verbRelease:
		part, to = newPart, to.uncounted()
	case verbRetry:
		part = newPart
	}
	return part, to.String()
}

// Done ends the claim with the job done. A power failure soon after may undo it, and
// the job is then claimed and done once more, as if the worker had died just before
// Done: whoever can bear that needs no [Config.Durable], and is spared an fsync.
func (c *Claim) Done() error { return c.end(verbDone, "") }

// Release gives the job back as if it had not been claimed: the attempt does not
// count. It is for a worker that cannot do the work, which another can.
func (c *Claim) Release() error { return c.end(verbRelease, "") }

// Retry gives the job back for another attempt, and logs why, or does as Fail does
// if this was attempt [Config.MaxAttempts].
func (c *Claim) Retry(reason string) error {
	if limit := c.s.cfg.MaxAttempts; limit > 0 && c.Attempt() >= limit {
		return c.end(verbFail, fmt.Sprintf("attempt %d of %d: %s", c.Attempt(), limit, reason))
	}
	return c.end(verbRetry, reason)
}

// Fail ends the claim with the job failed for good. The reason is kept beside it,
// at most 4 KiB of it, for [Entry.Reason].
func (c *Claim) Fail(reason string) error { return c.end(verbFail, reason) }

func (c *Claim) end(verb, reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != "" {
		if c.ended == verb {
			return nil
		}
		return c.closed(verb)
	}
	part, base := c.target(verb)
	err := c.s.moveTo(c.base, part, base, reason)
	if err == errGone {
		if err = c.whatEnded(); c.ended == verb {
			err = nil
		}
		c.s.drop(c)
		return c.wrap(verb, err)
	}
	if err != nil {
		return c.wrap(verb, err)
	}
	c.ended = verb
	c.s.drop(c)
	if verb == verbRelease {
		c.s.rest(c.job)
	}
	if part == newPart {
		c.s.log.Info("spool: "+verb, "job", c.job.name, "attempt", c.Attempt(), "reason", reason)
		c.s.signal()
	}
	return nil
}

// whatEnded finds out what an earlier call did that could not be told from one
// that did nothing.
func (c *Claim) whatEnded() error {
	for _, verb := range []string{verbDone, verbRelease, verbRetry, verbFail} {
		if _, err := c.s.fs.Lstat(c.s.path(c.target(verb))); err == nil {
			c.ended = verb
			return c.hasEnded()
		}
	}
	c.ended = verbLost
	return c.hasEnded()
}

// abandon is for Close: Release, and then nothing.
func (c *Claim) abandon() error {
	err := c.end(verbRelease, "")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == verbRelease {
		c.ended = verbLost
	}
	if errors.Is(err, ErrClaimLost) || errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// closed is the error of a method of a claim that has ended.
func (c *Claim) closed(verb string) error {
	return c.wrap(verb, c.hasEnded())
}

func (c *Claim) hasEnded() error {
	if c.ended == verbLost {
		return ErrClaimLost
	}
	return fmt.Errorf("the claim has ended with %s: %w", c.ended, fs.ErrClosed)
}

func (c *Claim) wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("spool: %s %.300q: %w", verb, c.job.name, err)
}

const (
	reasonSuffix = ".reason"
	maxReason    = 4 << 10
)

// moveTo moves a claimed job on. A failed one's reason is on disk before it is, so
// that no failed job lacks it.
func (s *Spool) moveTo(claimed, part, base, reason string) error {
	if part != failedPart {
		err := s.move(s.path(claimedPart, claimed), s.path(part, base))
		if err == nil && s.cfg.Durable {
			err = s.fs.SyncDir(s.path(part, ""))
		}
		return err
	}
	if cut := len(reason) - maxReason; cut > 0 {
		reason = fmt.Sprintf("%s… (%d bytes cut)", reason[:maxReason], cut)
	}
	if err := s.publish(failedPart, base+reasonSuffix, "reason", reason, true); err != nil {
		return err
	}
	if err := s.move(s.path(claimedPart, claimed), s.path(failedPart, base)); err != nil {
		if _, look := s.fs.Lstat(s.path(failedPart, base)); isGone(look) {
			s.fs.Unlink(s.path(failedPart, base+reasonSuffix))
		}
		return err
	}
	return s.fs.SyncDir(s.path(failedPart, ""))
}
