// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// Create makes the directory that name is to be in, as [MkdirAll] does with mode
// 0777, and calls fn(name), which is to make something there: a file, a link, a
// socket, the target of a rename. If fn fails because the directory was removed
// meanwhile (its error is [fs.ErrNotExist]), Create makes the directory again and
// calls fn again, so fn must be idempotent. From its third call at the latest, fn
// runs while a file of Create's holds the directory, so that no pruner which spares
// directories with files in them can fail it: see [RemoveEmptyParents].
//
// Create returns every other error of fn as it is, after one call. So it does with
// [fs.ErrNotExist] if it was not the directory that was missing, after two calls at
// most. If fn fails with EISDIR, and nothing but empty directories are in its way,
// they are removed, once.
//
// The file that holds a directory is empty, is there only while fn runs, and has a
// name that begins with ".fsrace-" and tells its owner. Should its process be
// killed, the next one to hold or write in that directory removes it. Create is
// safe for concurrent use, and is bounded in time as MkdirAll is, fn apart.
func Create(name string, fn func(name string) error) error {
	c := creator{calls: sys.OS{}}
	if err := mkdirAll(c.calls, dirOf(name), 0o777); err != nil {
		return err
	}
	return c.create(name, fn)
}

// OpenFile is [os.OpenFile]; but with [os.O_CREATE] in flag it makes the parents
// of name that are missing, and makes them again if they are removed before the
// file is there, as [Create] does. An error is an [*fs.PathError].
func OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err == nil || flag&os.O_CREATE == 0 || !absent(err) && !errors.Is(err, syscall.EISDIR) {
		return f, err
	}
	c := creator{calls: sys.OS{}, calledOnce: err}
	err = c.create(name, func(name string) (err error) {
		f, err = os.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// A creator is one call of Create.
type creator struct {
	calls sys.FS
	// calledOnce is the result of a first call of fn, made before.
	calledOnce error
	// noticeMissing is called with the directory before it is made, if that is needed.
	noticeMissing func(dir string)
	retry         retry
}

// create calls fn plainly, then with the directory remade, and then with it held.
// A call that finds the directory there and still fails with ENOENT may have lost a
// race or may lack something else; the next one, with the directory held, can tell.
func (c *creator) create(name string, fn func(name string) error) error {
	dir := dirOf(name)
	err := c.calledOnce
	if err == nil {
		err = fn(name)
	}
	for remade, cleared := false, false; err != nil; {
		switch {
		case errors.Is(err, syscall.EISDIR) && !cleared && !os.IsPathSeparator(name[len(name)-1]):
			cleared = true
			if removeEmptyTree(c.calls, name) != nil {
				return err
			}
			err = fn(name)
			continue
		case !absent(err) || !c.retry.again():
			return err
		}
		if i, statErr := c.calls.Stat(dir); (statErr != nil || !i.IsDir()) && !remade {
			remade = true
			if c.noticeMissing != nil {
				c.noticeMissing(dir)
			}
			if err := mkdirAll(c.calls, dir, 0o777); err != nil {
				return err
			}
			err = fn(name)
			continue
		}
		holder, holdErr := c.hold(dir)
		if absent(holdErr) {
			return holdErr
		} else if holdErr != nil {
			return err // the directory is there, and we may not write in it
		}
		var held bool
		if held, err = c.callHeld(holder, name, fn); held {
			return err // the directory was there all the time
		}
		c.retry.progress()
	}
	return nil
}

// callHeld also reports whether the holder was there to the end.
func (c *creator) callHeld(holder, name string, fn func(string) error) (held bool, err error) {
	defer func() { held = c.calls.Unlink(holder) == nil }()
	return false, fn(name)
}

// absent reports whether err says that a file or a directory on the way to it is not there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE)
}

// dirOf returns the directory that name is in, uncleaned as in join.
func dirOf(name string) string {
	i := len(name)
	for i > 0 && os.IsPathSeparator(name[i-1]) {
		i--
	}
	dir, _ := filepath.Split(name[:i])
	if dir == "" {
		return "."
	}
	return dir
}

// RemoveEmptyParents removes the directory that name was in, if it is empty, then
// its parent, and so on up to stop, which stays. It is the polite pruner that
// creators using this package are immune to: it only ever removes what is empty, at
// the moment of the removal (rmdir(2)), and never follows the tree down.
//
// It returns how many directories it removed, and nil when it came to one in use,
// or to stop. What somebody else has removed it takes for done. An error that wraps
// [fs.ErrInvalid] means that name is not below stop, judged by the cleaned names
// alone; others are those of rmdir(2).
func RemoveEmptyParents(name, stop string) (removed int, err error) {
	return prune(sys.OS{}, name, stop)
}

func prune(calls sys.FS, name, stop string) (removed int, err error) {
	rel, err := filepath.Rel(stop, name)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return 0, &fs.PathError{Op: "prune", Path: name, Err: errNotBelow{stop}}
	}
	for rel = filepath.Dir(rel); rel != "."; rel = filepath.Dir(rel) {
		dir := filepath.Join(stop, rel)
		switch err := calls.Rmdir(dir); {
		case err == nil:
			removed++
		case absent(err):
		case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, fs.ErrExist), errors.Is(err, syscall.EBUSY),
			errors.Is(err, syscall.ENOTDIR):
			// In use: by its entries, as a mount point, or as a link to somewhere.
			return removed, nil
		default:
			return removed, &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return removed, nil
}

type errNotBelow struct{ stop string }

func (e errNotBelow) Error() string { return "not below " + e.stop }
func (e errNotBelow) Unwrap() error { return fs.ErrInvalid }

// removeEmptyTree removes dir if there are only directories in it.
func removeEmptyTree(calls sys.FS, dir string) error {
	for {
		err := calls.Rmdir(dir)
		if !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
			return err
		}
		names, listErr := calls.ReadDir(dir)
		if listErr != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := removeEmptyTree(calls, join(dir, name)); err != nil {
				return err
			}
		}
	}
}
