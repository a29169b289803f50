// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// join is filepath.Join without the cleaning: what "a/../b" means is for the
// kernel to say.
func join(dir, base string) string {
	if dir == filepath.VolumeName(dir) || os.IsPathSeparator(dir[len(dir)-1]) {
		return dir + base
	}
	return dir + string(filepath.Separator) + base
}

// hold makes dir, if need be, with a file of ours in it, so that it stays until
// that file is unlinked, and returns the file's name.
func (c *creator) hold(dir string) (holder string, err error) {
	base := tempName()
	holder = join(dir, base)
	for {
		if c.noticeMissing != nil {
			c.noticeMissing(dir)
		}
		if c.graftSome(dir, base, c.calls.Create) {
			return holder, nil
		}
		err := c.calls.Create(holder)
		if err == nil || errors.Is(err, fs.ErrExist) { // nobody else uses that name: a reply was lost
			return holder, nil
		}
		if !absent(err) || !c.retry.again() {
			c.calls.Unlink(holder)
			return "", &fs.PathError{Op: "create", Path: holder, Err: err}
		}
		if err := mkdirAll(c.calls, dir, 0o777); err != nil {
			return "", err
		}
	}
}

// graftSome tries a few times to graft: another who makes or removes the same
// directories can thwart it.
func (c *creator) graftSome(dir, base string, put func(name string) error) bool {
	for range 3 {
		err := c.graft(dir, base, put)
		if err == nil {
			return true
		}
		if !absent(err) {
			break
		}
	}
	return false
}

// graft builds the missing part of dir aside, with a file base in its deepest
// directory that put makes, and renames it to its place: no pruner ever sees it
// empty. Where somebody has made the first missing component meanwhile, it takes the
// next part of the tree to the place below, and in the end the file alone. After an
// error nothing is left of it; the error is ErrExist if nothing was missing.
func (c *creator) graft(dir, base string, put func(name string) error) error {
	m := newMaker(c.calls, dir, 0o777)
	first := m.firstMissing(0, len(m.ends))
	if first == len(m.ends) {
		return fs.ErrExist
	}
	parent := dirOf(m.prefix(first))
	c.swept.visit(c.calls, parent)
	// trees[i] goes to places[i].
	var trees, places []string
	for aside, i := join(parent, tempName()), first; i < len(m.ends); i++ {
		if i > first {
			aside += m.path[m.ends[i-1]:m.ends[i]]
		}
		trees, places = append(trees, aside), append(places, m.prefix(i))
	}
	file := len(trees)
	trees, places = append(trees, join(trees[file-1], base)), append(places, join(dir, base))

	left, err := trees, error(nil)
	for i := 0; err == nil && i < file; i++ {
		err = c.calls.Mkdir(trees[i], 0o777)
	}
	if err == nil {
		err = put(trees[file])
	}
	if err == nil {
		for i := range trees {
			if err = c.calls.RenameNoReplace(trees[i], places[i]); err == nil {
				left = trees[:i]
			}
			if !errors.Is(err, fs.ErrExist) {
				break
			}
		}
	}
	for i := len(left) - 1; i >= 0; i-- {
		if i == file {
			c.calls.Unlink(left[i])
		} else {
			c.calls.Rmdir(left[i])
		}
	}
	return err
}
