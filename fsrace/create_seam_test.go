// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// G17, G22: the parent is pruned between being made and being used, again and again.
// A callback whose directory is missing at first is called once; one whose directory
// vanishes, twice.
func TestInterleaveCreateAndPruner(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ lacking, there bool }{
		"missing": {}, "there": {there: true},
		"missing, no renameat2": {lacking: true}, "there, no renameat2": {lacking: true, there: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, want := 60_000, 1
			if testing.Short() {
				limit = 3_000
			}
			if tc.there {
				want = 2
			}
			most := 0
			ran, err := systest.Interleave(limit, func() systest.Race {
				d := systest.NewDisk()
				if tc.there {
					mkdirAll(d, "/a/b", 0o755)
				}
				var err error
				calls := 0
				return systest.Race{
					FS: lacking(d, tc.lacking),
					Actors: []func(sys.FS){
						func(fs sys.FS) {
							c := creator{calls: fs}
							err = c.createIn("/a/b/", "/a/b/f", func(name string) error { calls++; return touch(fs)(name) })
						},
						rmdirs("/a/b", "/a", "/a/b", "/a"),
					},
					Check: func() error {
						most = max(most, calls)
						if _, ok := d.Files()["/a/b/f"]; err != nil || !ok || calls > want {
							return fmt.Errorf("%d calls of fn, %w; files %v", calls, err, d.Files())
						}
						return litter(d)
					},
				}
			})
			t.Logf("%d interleavings, at most %d calls of fn", ran, most)
			if err != nil {
				t.Error(err)
			}
			if most != want {
				t.Errorf("at most %d calls of fn, want %d: the pruner does not do its work", most, want)
			}
		})
	}
}

// OpenFile's own file goes in with the directories, or alone: once, and with all of
// them, whatever a pruner does and another who opens the same.
func TestInterleaveOpenersAndPruner(t *testing.T) {
	t.Parallel()
	limit := 60_000
	if testing.Short() {
		limit = 3_000
	}
	ran, err := systest.Interleave(limit, func() systest.Race {
		d := systest.NewDisk()
		var err error
		return systest.Race{
			FS: d,
			Actors: []func(sys.FS){
				func(fs sys.FS) {
					c := creator{calls: fs, movable: true}
					err = c.create("/a/b/f", syscall.ENOENT, fs.Create)
				},
				func(fs sys.FS) { fs.Mkdir("/a", 0o755); fs.Mkdir("/a/b", 0o755); fs.Create("/a/b/f") },
				rmdirs("/a/b", "/a"),
			},
			Check: func() error {
				// The other one may have been first with the file: create is exclusive here.
				if _, ok := d.Files()["/a/b/f"]; !ok || err != nil && !errors.Is(err, fs.ErrExist) {
					return fmt.Errorf("%w; files %v", err, d.Files())
				}
				return litter(d)
			},
		}
	})
	t.Logf("%d interleavings", ran)
	if err != nil {
		t.Error(err)
	}
}

// Each errno at each call of Create, made or not: the file is there, or the error is
// that errno, and nothing of ours is left but what could not be removed.
func TestEachErrnoOfCreate(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{
		syscall.ENOSPC, syscall.EROFS, syscall.EACCES, syscall.EIO, syscall.EEXIST, syscall.ENOENT, syscall.ESTALE, syscall.EINVAL,
	} {
		for _, executed := range []bool{false, true} {
			for _, missing := range []error{nil, syscall.ENOENT} { // at the first look, though it is there
				movable := missing == nil
				calls, err := systest.EachCall(func(n int) (bool, error) {
					d := systest.NewDisk()
					faulty, hit := systest.Inject(d, n, systest.Fault{Err: errno, Executed: executed})
					c := creator{calls: faulty, movable: movable}
					var err error
					if missing != nil {
						mkdirAll(d, "/a/b", 0o755)
						err = c.create("/a/b/f", missing, touch(faulty))
					} else {
						err = c.createIn("/a/b/", "/a/b/f", touch(faulty))
					}
					call, ok := hit()
					_, there := d.Files()["/a/b/f"]
					switch {
					case err == nil && !there:
						return ok, fmt.Errorf("%v: %w: success, but nothing is there", call, errno)
					case err != nil && !errors.Is(err, errno):
						return ok, fmt.Errorf("%v: %w: another error: %w", call, errno, err)
					case err != nil && absent(errno) && call.Path != "/a/b/f": // where it is fn's own
						return ok, fmt.Errorf("%v: %w: once is not for good", call, errno)
					case call.Op == "unlink" || call.Op == "rmdir":
						return ok, nil
					}
					if err := litter(d); err != nil {
						return ok, fmt.Errorf("%v: %w: %w", call, errno, err)
					}
					return ok, nil
				})
				if err != nil || calls < 4 {
					t.Errorf("movable=%t executed=%t: %d calls, %v", movable, executed, calls, err)
				}
			}
		}
	}
}

// lacking takes RenameNoReplace away, as some file systems do.
func lacking(calls sys.FS, lacks bool) sys.FS {
	if !lacks {
		return calls
	}
	return systest.Wrap(calls, func(c systest.Call, do func() error) error {
		if c.Op == "renamenoreplace" {
			return fmt.Errorf("renameat2: %w", errors.ErrUnsupported)
		}
		return do()
	})
}

// G23: while we build aside, others make the same directories: theirs stay.
func TestInterleaveGraftAndCreator(t *testing.T) {
	t.Parallel()
	limit := 60_000
	if testing.Short() {
		limit = 3_000
	}
	ran, err := systest.Interleave(limit, func() systest.Race {
		d := systest.NewDisk()
		var err error
		var theirs sys.Info
		return systest.Race{
			FS: d,
			Actors: []func(sys.FS){
				func(fs sys.FS) {
					c := creator{calls: fs}
					var holder string
					if holder, err = c.hold("/a/b/c"); err == nil {
						err = errors.Join(touch(fs)("/a/b/c/f"), fs.Unlink(holder))
					}
				},
				func(fs sys.FS) {
					if fs.Mkdir("/a", 0o711) == nil {
						theirs, _ = fs.Lstat("/a")
					}
					fs.Mkdir("/a/b", 0o755)
					fs.Rmdir("/a/b")
				},
			},
			Check: func() error {
				at, _ := d.Lstat("/a")
				if theirs.Ino != 0 && !at.Same(theirs) {
					return errors.New("a directory of somebody else's was replaced")
				}
				if _, ok := d.Files()["/a/b/c/f"]; err != nil || !ok {
					return fmt.Errorf("%w; files %v", err, d.Files())
				}
				return litter(d)
			},
		}
	})
	t.Logf("%d interleavings", ran)
	if err != nil {
		t.Error(err)
	}
}
