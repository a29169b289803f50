// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
)

// Close gives back the claims that are still held, as [Claim.Release] does (their
// methods then return [ErrClaimLost]), wakes every waiting Claim, and ends the
// registration, unless a claim could not be given back: then the error says so, and
// others can reclaim it when this process is dead. Called again, Close does nothing
// and returns the same.
func (s *Spool) Close() error {
	s.close.Do(func() { s.closeErr = s.end() })
	return s.closeErr
}

func (s *Spool) end() error {
	s.mu.Lock()
	s.closed = true
	close(s.closing)
	var claims []*Claim
	for _, c := range s.held {
		claims = append(claims, c)
	}
	s.mu.Unlock()

	s.beaten.Wait()
	s.jobs.close()
	var first error
	for _, c := range claims {
		if err := c.abandon(); err != nil && first == nil {
			first = err
		}
	}
	if first != nil || s.cfg.Observer {
		return first
	}
	if !s.named.Load() {
		err := s.fs.Unlink(s.path(workersPart, s.owner.Nonce))
		if err != nil && !isGone(err) {
			return fmt.Errorf("spool: retire: %w", err)
		}
		return nil
	}
	// What nobody noticed can be given back by nobody else while this process lives.
	names, err := s.list(claimedPart)
	if isGone(err) {
		err = nil // the spool was removed, and everything in it
	}
	for _, base := range names {
		if job, ok := parseFile(base); ok && job.worker == s.owner.Nonce {
			_, ghost := s.reclaimGhost(base, job)
			err = errors.Join(err, ghost)
		}
	}
	if err == nil {
		err = s.retire(s.owner.Nonce)
	}
	if err != nil {
		return fmt.Errorf("spool: retire: %w", err)
	}
	return nil
}
