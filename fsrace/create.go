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

// Create calls fn(name), which is to make something there: a file, a link, a
// socket, the target of a rename. If the directory that name is to be in is missing,
// Create makes it, with parents, mode 0777 before umask(2), and keeps a file of its
// own in it while fn runs, so that no pruner which spares directories with files in
// them can fail it: see [RemoveEmptyParents]. If the directory was there, and fn fails
// because it was removed meanwhile (its error is [fs.ErrNotExist]), Create does the
// same and calls fn again, so fn must be idempotent. Only a pruner that spares
// nothing can make a third call necessary.
//
// Create returns every other error of fn as it is, after one call. So it does with
// [fs.ErrNotExist] if it was not the directory that was missing, after two calls at
// most. If fn fails with EISDIR, and nothing but empty directories are in its way,
// they are removed, once.
//
// The file that holds a directory is empty, and has a name that begins with
// ".fsrace-" and tells its owner. Should its process be killed, the next process to
// create in that directory removes it, as a [Pending] does. Create is safe for
// concurrent use, and is bounded in time as MkdirAll is, fn apart.
func Create(name string, fn func(name string) error) error {
	c := creator{calls: sys.OS{}, swept: &swept}
	return c.createIn(dirOf(name), name, fn)
}

// OpenFile is [os.OpenFile]; but with [os.O_CREATE] in flag it makes the parents
// of name that are missing, and makes them again if they are removed before the
// file is there, as [Create] does. An error is an [*fs.PathError].
func OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err == nil || flag&os.O_CREATE == 0 || !absent(err) && !errors.Is(err, syscall.EISDIR) {
		return f, err
	}
	if !absent(err) {
		err = nil // look again whether an empty directory is in the way
	}
	c := creator{calls: sys.OS{}, swept: &swept, movable: !sys.CloseToRename}
	err = c.create(name, err, func(at string) (err error) {
		f.Close() // of an earlier call, which could not be moved to its place
		f, err = sys.OpenAs(name, at, flag, perm)
		return err
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A creator is one call of Create.
type creator struct {
	calls sys.FS
	// noticeMissing is called with the directory before it is made, if that is needed.
	noticeMissing func(dir string)
	// movable says that what fn makes is a file that may be made elsewhere and moved.
	movable bool
	swept   *sweeper
	retry   retry
}

// createIn is create, of something in a directory that may well be missing.
func (c *creator) createIn(dir, name string, fn func(name string) error) error {
	i, err := c.calls.Stat(dir)
	if absent(err) {
		return c.create(name, err, fn)
	}
	if err != nil || !i.IsDir() {
		if err := mkdirAll(c.calls, dir, 0o777); err != nil {
			return err
		}
	}
	c.swept.visit(c.calls, dir) // what the dead have left keeps the directory from being pruned
	return c.create(name, nil, fn)
}

// create calls fn, until that has done what it is to do: with the directory held,
// unless missing is nil. missing is why that seems necessary at first. It is later
// on whenever fn fails with ENOENT: it may have lost a race or may lack something
// else, and with the directory held, that can be told.
//
// Making the directory first, and holding it only after that has failed some times,
// is slower where pruners are at work, and hardly faster where they are not: what is
// built aside is in nobody's way.
func (c *creator) create(name string, missing error, fn func(name string) error) error {
	dir := dirOf(name)
	for cleared := false; ; {
		err := missing
		if missing == nil {
			err = fn(name)
		} else {
			if c.movable && c.graftSome(dir, filepath.Base(name), fn) {
				return nil
			}
			holder, holdErr := c.hold(dir)
			if _, unmade := errors.AsType[*MkdirError](holdErr); unmade || absent(holdErr) {
				return holdErr
			} else if holdErr != nil {
				// We may not write in the directory; fn may know a way.
				if err := mkdirAll(c.calls, dir, 0o777); err != nil {
					return err
				}
				return fn(name)
			}
			var held bool
			if held, err = c.callHeld(holder, name, fn); held && absent(err) {
				return err // the directory was there all the time
			}
			c.retry.progress()
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EISDIR) && !cleared && namesFile(name):
			cleared = true
			if removeEmptyTree(c.calls, name) != nil {
				return err
			}
		case absent(err) && c.retry.again():
			missing = err
		default:
			return err
		}
	}
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

// namesFile reports whether name can be that of a file: "a/..", "a/." and "a/" are
// directories, and ones that something else is in.
func namesFile(name string) bool {
	_, base := filepath.Split(name)
	return base != "" && base != "." && base != ".."
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
