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
// not, as Reclaim does from the dead, returns how many, and takes it off the list of
// Workers. It is for people who know what no program can: that the host is gone for
// good or was booted again, or that what the worker does must not count. One that is
// alive all the same loses its claims and what it is just putting, is told so, and is
// back on the list when it reclaims (as Claim does) or renews its lease.
//
// It returns an error that wraps [fs.ErrNotExist] if there is no such worker.
func (s *Spool) Evict(nonce string) (int, error) {
	if err := s.usable(); err != nil {
		return 0, fmt.Errorf("spool: evict: %w", err)
	}
	names, err := s.list(claimedPart)
	if err != nil {
		return 0, fmt.Errorf("spool: evict: %w", err)
	}
	var n int
	var errs []error
	known := false
	for _, base := range names {
		if job, ok := parseFile(base); ok && job.worker == nonce {
			known = true
			done, err := s.reclaim(base, job, "the worker was evicted: "+nonce)
			if done {
				n++
			}
			errs = append(errs, err)
		}
	}
	if !known {
		if !isNonce(nonce) {
			return 0, fmt.Errorf("spool: evict: %q is no worker's nonce: %w", nonce, fs.ErrNotExist)
		}
		if _, err := s.record(nonce); isGone(err) {
			return 0, fmt.Errorf("spool: evict: no worker has the nonce %s: %w", nonce, fs.ErrNotExist)
		}
	}
	errs = append(errs, s.sweepTmp(func(of string) bool { return of == nonce }))
	if err := errors.Join(errs...); err != nil {
		return n, fmt.Errorf("spool: evict: %w", err)
	}
	if err := s.retire(nonce); err != nil {
		return n, fmt.Errorf("spool: evict: %w", err)
	}
	return n, nil
}

// EvictHost is [Spool.Evict] of every worker on a host of that name (see
// [fsrace.Owner]), but for those of this very boot, and returns how many jobs were
// taken. After a power failure it is what nobody but people can say: call it on the
// host that was booted again, with os.Hostname, and what its workers held before is
// free; those that run by now keep theirs. Called on another host, for one that is gone
// for good, it spares nobody there. A name that no worker has is no error: 0, nil.
//
// Where there are no boot ids (all but Linux) it evicts nobody.
func (s *Spool) EvictHost(host string) (int, error) {
	if err := s.usable(); err != nil {
		return 0, fmt.Errorf("spool: evict: %w", err)
	}
	workers, err := s.list(workersPart)
	if err != nil {
		return 0, fmt.Errorf("spool: evict: %w", err)
	}
	held, err := s.list(claimedPart)
	if err != nil {
		return 0, fmt.Errorf("spool: evict: %w", err)
	}
	nonces := map[string]bool{}
	for _, nonce := range workers {
		if isNonce(nonce) {
			nonces[nonce] = true
		}
	}
	for _, base := range held {
		if job, ok := parseFile(base); ok { // also of one that is off the list
			nonces[job.worker] = true
		}
	}
	var n int
	var errs []error
	for nonce := range nonces {
		r, err := s.record(nonce)
		if isGone(err) {
			continue // closed meanwhile
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("spool: evict: worker %s: %w", nonce, err))
			continue
		}
		if r.owner.Host != host || r.owner.BootID == s.owner.BootID || s.owner.BootID == "" {
			continue
		}
		took, err := s.Evict(nonce)
		n += took
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// Requeue puts the failed job with that ID back to new, with no attempts counted.
// It returns an error that wraps [fs.ErrNotExist] if there is none.
func (s *Spool) Requeue(id string) error {
	if err := s.usable(); err != nil {
		return fmt.Errorf("spool: requeue: %w", err)
	}
	names, err := s.list(failedPart)
	if err != nil {
		return fmt.Errorf("spool: requeue: %w", err)
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
// listing that missed a job that names it, and a reason whose job is still to come.
const keepRecords = time.Hour

// Prune removes the jobs that are done and were last written more than age ago by
// this host's clock, and returns how many. A job is written when it is put, so one
// that has waited for longer than age goes as soon as it is done. Prune also removes
// what no job needs any more: the records of retired workers whom none names, and
// reasons that their writers did not live to use. Without it a spool grows for ever.
// Failed jobs stay: see [Spool.Requeue].
func (s *Spool) Prune(age time.Duration) (int, error) {
	if err := s.usable(); err != nil {
		return 0, fmt.Errorf("spool: prune: %w", err)
	}
	n, err := s.prune(donePart, age, func(string) bool { return true })
	if err != nil {
		return n, fmt.Errorf("spool: prune: %w", err)
	}
	_, err = s.prune(failedPart, max(age, keepRecords), func(base string) bool {
		job, isReason := strings.CutSuffix(base, reasonSuffix)
		if _, ok := parseFile(job); !isReason || !ok {
			return false
		}
		_, err := s.fs.Lstat(s.path(failedPart, job))
		return isGone(err)
	})
	if err != nil {
		return n, fmt.Errorf("spool: prune: %w", err)
	}
	named := map[string]bool{}
	for _, part := range []string{tmpPart, newPart, claimedPart, newPart, donePart, failedPart} {
		names, err := s.list(part)
		if err != nil {
			return n, fmt.Errorf("spool: prune: %w", err)
		}
		for _, base := range names {
			if job, ok := parseFile(base); ok {
				named[job.worker] = true
			}
		}
	}
	_, err = s.prune(retiredPart, max(age, keepRecords), func(nonce string) bool { return !named[nonce] })
	if err != nil {
		return n, fmt.Errorf("spool: prune: %w", err)
	}
	return n, nil
}

func (s *Spool) prune(part string, age time.Duration, which func(base string) bool) (int, error) {
	names, err := s.list(part)
	if err != nil {
		return 0, err
	}
	var n int
	for _, base := range names {
		path := s.path(part, base)
		info, err := s.fs.Lstat(path)
		if err != nil || time.Since(time.Unix(0, info.Mtime)) <= age || !which(base) {
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
