// SPDX-License-Identifier: MIT

package comments

import (
	"os"
	"path/filepath"

	"github.com/seed-b08dbae9/sysprim/fsrace"
)

// Fixed is the store with fsrace: a comment is there, whole and durable, with all
// the directories it needs, or Post has failed.
type Fixed struct{ Dir string }

// Post never overwrites a comment: the error is [fs.ErrExist] if the id is taken.
func (s Fixed) Post(page, id string, text []byte) error {
	p, err := fsrace.NewPending(filepath.Join(s.Dir, page, id), 0o644)
	if err != nil {
		return err
	}
	defer p.Discard()
	if _, err := p.Write(text); err != nil {
		return err
	}
	return p.CommitNew()
}

// Delete removes a comment, and with the last one its page.
func (s Fixed) Delete(page, id string) error {
	name := filepath.Join(s.Dir, page, id)
	if err := os.Remove(name); err != nil {
		return err
	}
	_, err := fsrace.RemoveEmptyParents(name, s.Dir)
	return err
}

// Prune removes empty pages.
func (s Fixed) Prune() error {
	return pages(s.Dir, func(page string) error {
		_, err := fsrace.RemoveEmptyParents(filepath.Join(s.Dir, page, "any"), s.Dir)
		return err
	})
}
