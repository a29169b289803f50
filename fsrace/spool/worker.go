// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace"
)

// A record is what an instance says of itself in workers/NONCE.
type record struct {
	owner fsrace.Owner
	lease time.Duration // it promises to renew the record more often than this; 0: never
	text  string        // the whole, which differs with each renewal
}

const recordFormat = "sysprim spool worker 1"

func (s *Spool) recordText() string {
	return fmt.Sprintf("%s\nowner %v\nlease %v\nbeat %d\n", recordFormat, s.owner, s.cfg.Lease, s.beats.Add(1))
}

var errRecord = errors.New("not a worker's record")

func parseRecord(text string) (record, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != recordFormat || lines[4] != "" {
		return record{}, errRecord
	}
	field := func(i int, key string) string {
		value, ok := strings.CutPrefix(lines[i], key+" ")
		if !ok {
			return ""
		}
		return value
	}
	owner, err := fsrace.ParseOwner(field(1, "owner"))
	if err != nil {
		return record{}, fmt.Errorf("%w: %w", errRecord, err)
	}
	lease, err := time.ParseDuration(field(2, "lease"))
	if err != nil || lease < 0 {
		return record{}, errRecord
	}
	if _, err := strconv.ParseUint(field(3, "beat"), 10, 64); err != nil {
		return record{}, errRecord
	}
	return record{owner, lease, text}, nil
}

// register writes this instance's record, anew for each renewal of the lease.
func (s *Spool) register(durable bool) error {
	return s.publish(workersPart, s.owner.Nonce, "worker", s.recordText(), durable)
}

// renew keeps this instance's lease until Close.
func (s *Spool) renew() {
	tick := time.NewTicker(max(s.cfg.Lease/3, 1))
	defer tick.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
			if err := s.register(false); err != nil {
				s.log.Warn("spool: cannot renew the lease", "err", err)
			}
		}
	}
}

// record finds the record of the worker with that nonce, open or retired.
func (s *Spool) record(nonce string) (record, error) {
	text, err := s.readFile(s.path(workersPart, nonce))
	if isGone(err) {
		text, err = s.readFile(s.path(retiredPart, nonce))
	}
	if err != nil {
		return record{}, err
	}
	r, err := parseRecord(text)
	if err == nil && r.owner.Nonce != nonce {
		err = errRecord
	}
	return r, err
}

// retire takes a worker off the list of those that are open. Its record stays, to
// say who it was that did what: Prune removes it once nothing bears its nonce.
func (s *Spool) retire(nonce string) error {
	from, to := s.path(workersPart, nonce), s.path(retiredPart, nonce)
	if err := s.fs.Rename(from, to); err != nil {
		if _, look := s.fs.Lstat(from); !isGone(look) {
			return err
		}
	}
	return nil
}

// Workers returns the owner record of every instance that has the spool open, on
// whatever host, oldest first; only those that are proved dead, or that Reclaim
// found silent, are left out. Of a record that cannot be read it returns what is
// known, the Nonce.
func (s *Spool) Workers() ([]fsrace.Owner, error) {
	names, err := s.list(workersPart)
	if err != nil {
		return nil, fmt.Errorf("spool: workers: %w", err)
	}
	var owners []fsrace.Owner
	for _, nonce := range names {
		if !isNonce(nonce) {
			continue
		}
		r, err := s.record(nonce)
		switch {
		case isGone(err):
			continue // closed meanwhile
		case err != nil:
			r.owner = fsrace.Owner{Nonce: nonce}
		case s.liveness(r.owner) == fsrace.Dead:
			continue
		}
		owners = append(owners, r.owner)
	}
	slices.SortFunc(owners, func(a, b fsrace.Owner) int {
		return 2*a.Since.Compare(b.Since) + strings.Compare(a.Nonce, b.Nonce)
	})
	return owners, nil
}

// list returns the names in a part, sorted, without the hidden ones.
func (s *Spool) list(part string) ([]string, error) {
	names, err := s.fs.ReadDir(s.path(part, ""))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: s.path(part, ""), Err: err}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name[0] == '.' })
	slices.Sort(names)
	return slices.Compact(names), nil
}
