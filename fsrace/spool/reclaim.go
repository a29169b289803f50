// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace"
)

// A lease is what this instance saw of a worker that promised to renew it.
type lease struct {
	text  string    // the record, which each renewal changes
	since time.Time // when we first saw it so, on our clock
}

// Reclaim gives the jobs of workers that are certainly gone back to the others, or
// to failed if [Config.MaxAttempts] is reached, and returns how many. Certainly
// gone is a process that is proved dead (see [fsrace.Owner]); with [Config.Lease]
// also a worker whose lease this instance has seen unchanged for that long, for
// which it takes two calls at least. It also removes what dead workers were
// writing, and takes them off the list of Workers.
//
// Claim does so by itself, at first, while it waits, and now and then. The error
// joins those of the jobs and workers that could not be dealt with; the others are
// dealt with all the same.
func (s *Spool) Reclaim() (int, error) {
	if err := s.usable(); err != nil {
		return 0, fmt.Errorf("spool: reclaim: %w", err)
	}
	return s.reclaimAll(true)
}

// reclaimAll looks at those who hold jobs, and, to sweep, at all workers.
func (s *Spool) reclaimAll(sweep bool) (int, error) {
	s.mu.Lock()
	s.reclaimed = time.Now()
	if sweep {
		s.swept = s.reclaimed
	}
	s.mu.Unlock()

	names, err := s.list(claimedPart)
	if err != nil {
		return 0, fmt.Errorf("spool: reclaim: %w", err)
	}
	verdicts := map[string]verdict{}
	judge := func(nonce string) verdict {
		v, ok := verdicts[nonce]
		if !ok {
			v = s.judge(nonce)
			verdicts[nonce] = v
		}
		return v
	}
	var n int
	var errs []error
	for _, base := range names {
		job, ok := parseFile(base)
		if !ok {
			continue
		}
		var done bool
		var err error
		if job.worker == s.owner.Nonce {
			done, err = s.reclaimGhost(base, job)
		} else if v := judge(job.worker); v.gone {
			done, err = s.reclaim(base, job, v.why)
		}
		if done {
			n++
		}
		errs = append(errs, err)
	}
	if sweep {
		errs = append(errs, s.sweep(judge))
		s.mu.Lock()
		maps.DeleteFunc(s.judged, func(nonce string, _ lease) bool { _, met := verdicts[nonce]; return !met })
		s.mu.Unlock()
	}
	if err := errors.Join(errs...); err != nil {
		return n, fmt.Errorf("spool: reclaim: %w", err)
	}
	return n, nil
}

// reclaimEvery reclaims if that was last done at least d ago, and sweeps every ten
// rescans, for Claim.
func (s *Spool) reclaimEvery(d time.Duration) int {
	if s.usable() != nil {
		return 0 // as Claim will find out
	}
	s.mu.Lock()
	due, sweep := time.Since(s.reclaimed) >= d, time.Since(s.swept) >= 10*s.cfg.Rescan
	s.mu.Unlock()
	if !due {
		return 0
	}
	n, err := s.reclaimAll(sweep)
	if err != nil {
		s.log.Warn("spool: reclaim", "err", err)
	}
	return n
}

// reclaim moves a job away from under its owner. The name is the owner's claim and
// no other, so a claim made since cannot be hit.
func (s *Spool) reclaim(base string, job file, why string) (bool, error) {
	part, to := newPart, s.moved(job)
	reason := ""
	if limit := s.cfg.MaxAttempts; limit > 0 && int(job.attempt) >= limit {
		part = failedPart
		reason = fmt.Sprintf("attempt %d of %d: %s", job.attempt, limit, why)
	}
	err := s.moveTo(base, part, to.String(), reason)
	if err == errGone {
		return false, nil
	}
	if err == nil {
		s.signal()
		s.log.Info("spool: reclaimed", "job", job.name, "from", job.worker, "to", part, "attempt", job.attempt, "why", why)
	}
	return err == nil, err
}

// reclaimGhost gives back a claim of our own that nobody holds: its rename was
// reported to have failed, and could not be seen to have been made.
func (s *Spool) reclaimGhost(base string, job file) (bool, error) {
	s.mu.Lock()
	_, held := s.held[base]
	s.mu.Unlock()
	if held {
		return false, nil
	}
	err := s.moveTo(base, newPart, s.moved(job.uncounted()).String(), "")
	if err == errGone {
		return false, nil // it was in the listing, and has ended since
	}
	return err == nil, err
}

// A verdict is whether a worker's jobs may be taken from it, and why.
type verdict struct {
	gone, dead bool
	why        string
}

func (s *Spool) judge(nonce string) verdict {
	asked := time.Now() // before the look: it may take long, and what it shows is older than now
	r, err := s.record(nonce)
	if err != nil {
		return verdict{} // unknown is never dead
	}
	if s.liveness(r.owner) == fsrace.Dead {
		return verdict{gone: true, dead: true, why: fmt.Sprintf("the worker died: %v", r.owner)}
	}
	if s.cfg.Lease == 0 || r.lease == 0 {
		return verdict{} // one who promised nothing breaks no promise
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, ok := s.judged[nonce]
	if !ok || seen.text != r.text {
		s.judged[nonce] = lease{r.text, time.Now()}
		return verdict{}
	}
	limit := max(s.cfg.Lease, r.lease)
	if silent := asked.Sub(seen.since); silent >= limit {
		return verdict{gone: true, why: fmt.Sprintf("the worker has not renewed its lease of %v for %v: %v", limit, silent, r.owner)}
	}
	return verdict{}
}

// sweep removes the litter of the dead from tmp, and retires who is gone. It looks
// at every worker, so an idle Claim does not ask for it each time.
func (s *Spool) sweep(judge func(nonce string) verdict) error {
	// The dead only: one who is merely silent may go on writing.
	errs := []error{s.sweepTmp(func(nonce string) bool { return nonce != s.owner.Nonce && judge(nonce).dead })}
	workers, err := s.list(workersPart)
	errs = append(errs, err)
	listed := false
	for _, nonce := range workers {
		switch {
		case nonce == s.owner.Nonce:
			listed = true
		case isNonce(nonce) && judge(nonce).gone:
			errs = append(errs, s.retire(nonce))
		}
	}
	if err == nil && !listed {
		errs = append(errs, s.comeBack())
	}
	return errors.Join(errs...)
}

// comeBack puts this instance, which somebody has taken for dead or evicted, on the
// list of workers again.
func (s *Spool) comeBack() error {
	err := s.register(false)
	if s.usable() != nil { // Close may have been too early to see it
		return s.retire(s.owner.Nonce)
	}
	return err
}

// sweepTmp removes what the workers were writing whose nonces which wants.
func (s *Spool) sweepTmp(which func(nonce string) bool) error {
	litter, err := s.list(tmpPart)
	errs := []error{err}
	for _, base := range litter {
		fields := strings.Split(base, sep)
		if len(fields) < 3 {
			continue
		}
		if nonce := fields[len(fields)-2]; isNonce(nonce) && which(nonce) {
			if err := s.fs.Unlink(s.path(tmpPart, base)); !isGone(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
