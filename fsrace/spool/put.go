// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"io"
)

// Put adds a job of that name with what r holds. The job can be claimed once all
// of it is there, and when Put returns nil it will survive a power failure. If
// Put returns an error, the job is not in the spool, unless the error says that
// it may be: the file system could not be asked, or somebody claimed the job before
// a failed sync could take it back.
//
// Names need not be unique: each Put is one job, told apart by its ID. A name must
// be valid UTF-8 of 1 to [MaxName] bytes, without leading dot, path separators (of
// any system) and control characters; otherwise Put returns a [*NameError].
// It blocks as long as r and the file system do.
func (s *Spool) Put(name string, r io.Reader) error {
	if err := s.put(name, r); err != nil {
		return fmt.Errorf("spool: put %.300q: %w", name, err)
	}
	s.signal()
	return nil
}

func (s *Spool) put(name string, r io.Reader) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := s.usable(); err != nil {
		return err
	}
	job := s.moved(file{name: name, id: newID()})
	base := job.String()
	if err := s.write(base, r, true); err != nil {
		return err
	}
	tmp, dst := s.path(tmpPart, base), s.path(newPart, base)
	err := s.move(tmp, dst)
	if err == errGone {
		err = s.find(job.id) // was the reply lost, and the job claimed since?
	}
	if err == nil {
		err = s.fs.SyncDir(s.path(newPart, ""))
	}
	if err == nil {
		return nil
	}
	// Take it back, so that a Put that failed has put nothing.
	switch undo := s.move(dst, tmp); {
	case undo == nil:
		s.fs.Unlink(tmp)
	case undo != errGone || s.find(job.id) != errGone:
		return fmt.Errorf("it may be in the spool all the same: %w", errors.Join(err, undo))
	}
	return err
}

// find looks for a job in all places, forwards as it moves. It returns errGone if it
// is in none of them.
func (s *Spool) find(id string) error {
	for _, part := range []string{newPart, claimedPart, newPart, donePart, failedPart} {
		names, err := s.list(part)
		if err != nil {
			return err
		}
		for _, base := range names {
			if f, ok := parseFile(base); ok && f.id == id {
				return nil
			}
		}
	}
	return errGone
}
