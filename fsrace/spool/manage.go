// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// What people do to a spool: programs that work in it need none of this.

// Evict takes all jobs from the worker with that nonce (see [Entry.Owner]), alive or
// not, as Reclaim does from the dead, and returns how many. It is for people who
// know what no program can: that the host is gone for good, or that what the worker
// does must not count. One that is alive all the same loses its claims, and no more.
func (s *Spool) Evict(nonce string) (int, error) {
	if err := s.usable(); err != nil {
		return 0, fmt.Errorf("spool: evict: %w", err)
	}
	names, err := s.list(claimedPart)
	if err != nil {
		return 0, err
	}
	var n int
	var errs []error
	for _, base := range names {
		if job, ok := parseFile(base); ok && job.worker == nonce {
			done, err := s.reclaim(base, job, "the worker was evicted: "+nonce)
			if done {
				n++
			}
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return n, fmt.Errorf("spool: evict: %w", err)
	}
	return n, nil
}

// Requeue puts the failed job with that ID back to new, with no attempts counted.
// It returns an error that wraps [fs.ErrNotExist] if there is none.
func (s *Spool) Requeue(id string) error {
	if err := s.usable(); err != nil {
		return fmt.Errorf("spool: requeue: %w", err)
	}
	names, err := s.list(failedPart)
	if err != nil {
		return err
	}
	for _, base := range names {
		job, ok := parseFile(base)
		if !ok || job.id != id {
			continue
		}
		to := s.moved(job)
		to.attempt = 0
		err := s.move(s.path(failedPart, base), s.path(newPart, to.String()))
		if err == errGone {
			break
		}
		if err != nil {
			return fmt.Errorf("spool: requeue: %w", err)
		}
		s.fs.Unlink(s.path(failedPart, base+reasonSuffix))
		s.signal()
		return nil
	}
	return fmt.Errorf("spool: requeue: no failed job has ID %q: %w", id, fs.ErrNotExist)
}

// keepRecords is how long the record of a retired worker stays at least, for a
// listing that missed a job that names it.
const keepRecords = time.Hour

// Purge removes the jobs that are done and were last written more than age ago by
// this host's clock, and returns how many. It also removes the records of retired
// workers whom no job names any more. Without it a spool grows for ever.
func (s *Spool) Purge(age time.Duration) (int, error) {
	if err := s.usable(); err != nil {
		return 0, fmt.Errorf("spool: purge: %w", err)
	}
	n, err := s.purge(donePart, age, func(string) bool { return true })
	if err != nil {
		return n, fmt.Errorf("spool: purge: %w", err)
	}
	named := map[string]bool{}
	for _, part := range []string{newPart, claimedPart, newPart, donePart, failedPart} {
		names, err := s.list(part)
		if err != nil {
			return n, err
		}
		for _, base := range names {
			if job, ok := parseFile(strings.TrimSuffix(base, reasonSuffix)); ok {
				named[job.worker] = true
			}
		}
	}
	_, err = s.purge(retiredPart, max(age, keepRecords), func(nonce string) bool { return !named[nonce] })
	if err != nil {
		return n, fmt.Errorf("spool: purge: %w", err)
	}
	return n, nil
}

func (s *Spool) purge(part string, age time.Duration, which func(base string) bool) (int, error) {
	names, err := s.list(part)
	if err != nil {
		return 0, err
	}
	var n int
	for _, base := range names {
		path := s.path(part, base)
		info, err := s.fs.Lstat(path)
		if err != nil || !which(base) || time.Since(time.Unix(0, info.Mtime)) <= age {
			continue
		}
		if err := s.fs.Unlink(path); err == nil {
			n++
		} else if !isGone(err) {
			return n, &fs.PathError{Op: "remove", Path: path, Err: err}
		}
	}
	return n, nil
}
