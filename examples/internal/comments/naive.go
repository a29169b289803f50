// SPDX-License-Identifier: MIT

package comments

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Naive is the store as it was first written: check, then create.
type Naive struct{ Dir string }

// Post makes the page's directory if it is not there yet. That another request
// makes it at the same time was found out in production; the cure, to ignore
// "exists", is none: it may be of an intermediate directory, and then the page's own
// is still missing.
func (s Naive) Post(page, id string, text []byte) error {
	dir := filepath.Join(s.Dir, page)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makedirs(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, id), text, 0o644)
}

// makedirs makes dir and the parents it lacks, as many languages' libraries did.
func makedirs(dir string) error {
	parent := filepath.Dir(dir)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		if err := makedirs(parent); err != nil {
			return err
		}
	}
	return os.Mkdir(dir, 0o755)
}

// Delete removes a comment.
func (s Naive) Delete(page, id string) error {
	return os.Remove(filepath.Join(s.Dir, page, id))
}

// Prune removes empty pages.
func (s Naive) Prune() error {
	return pages(s.Dir, func(page string) error {
		os.Remove(filepath.Join(s.Dir, page)) // fails if it is not empty
		return nil
	})
}

// pages calls visit for each directory below dir, the deepest first.
func pages(dir string, visit func(page string) error) error {
	var found []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err == nil && d.IsDir() && name != dir {
			found = append(found, name)
		}
		return err
	})
	for i := len(found) - 1; i >= 0 && err == nil; i-- {
		page, _ := filepath.Rel(dir, found[i])
		err = visit(page)
	}
	return err
}
