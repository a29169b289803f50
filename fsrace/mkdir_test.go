// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

func TestMkdirAll(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		os.Mkdir(filepath.Join(dir, "real"), 0o755)
		os.Symlink("real", filepath.Join(dir, "link"))
		os.Symlink("nowhere/else", filepath.Join(dir, "dangling"))
		os.Symlink("loop", filepath.Join(dir, "loop"))
		for _, tc := range []struct {
			path  string
			err   error  // nil: success
			at    string // the component at fault
			found string
		}{
			{path: "a"},
			{path: "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z"},
			{path: "s//lash///es//"},
			{path: "dot/./s/."},
			{path: "made/../too"}, // G11: .. is the kernel's, so made is made
			{path: "link"},
			{path: "link/below/it"},
			{path: "file", err: syscall.ENOTDIR, at: "file", found: "a regular file"},
			{path: "file/x", err: syscall.ENOTDIR, at: "file", found: "a regular file"},
			{path: "file/x/y/z", err: syscall.ENOTDIR, at: "file", found: "a regular file"},
			{path: "dangling", err: fs.ErrExist, at: "dangling", found: "a symbolic link to nowhere/else"},
			{path: "dangling/x/y", err: fs.ErrExist, at: "dangling", found: "a symbolic link to nowhere/else"},
			{path: "loop/x", err: syscall.ELOOP, at: "loop", found: "a symbolic link to loop"},
			{path: strings.Repeat("n", 300) + "/x", err: syscall.ENAMETOOLONG, at: strings.Repeat("n", 300), found: "something unknown"},
			{path: "nul\x00/x", err: syscall.EINVAL, at: "nul\x00", found: "something unknown"},
		} {
			path := dir + "/" + tc.path
			err := MkdirAll(path, 0o755)
			if tc.err == nil {
				if i, statErr := os.Stat(path); err != nil || statErr != nil || !i.IsDir() {
					t.Errorf("MkdirAll(%q) = %v, Stat %v", tc.path, err, statErr)
				}
				continue
			}
			pe, _ := errors.AsType[*fs.PathError](err)
			me, _ := errors.AsType[*MkdirError](err)
			if pe == nil || me == nil || !errors.Is(err, tc.err) || pe.Op != "mkdir" || pe.Path != dir+"/"+tc.at ||
				!strings.HasPrefix(me.Found, tc.found) || me.Path != path {
				t.Errorf("MkdirAll(%.40q) = %.200v (%+.200v), want %v at %s, where there is %s", tc.path, err, me, tc.err, tc.at, tc.found)
			}
		}
		for _, made := range []string{"made", "too"} {
			if _, err := os.Stat(filepath.Join(dir, made)); err != nil {
				t.Error(err)
			}
		}
	})
	if err := MkdirAll("", 0o755); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("MkdirAll of an empty path = %v", err)
	}
	for _, path := range []string{"/", ".", "..", "./", "//"} {
		if err := MkdirAll(path, 0o755); err != nil {
			t.Error(err)
		}
	}
}

// race is MkdirAll of /a/b/c by two creators while others interfere, under every
// interleaving of their calls.
func race(t *testing.T, setup func(d *systest.Disk), path string, creators int, others ...func(sys.FS)) {
	t.Helper()
	t.Parallel()
	limit := 200_000
	if testing.Short() {
		limit = 5_000
	}
	ran, err := systest.Interleave(limit, func() systest.Race {
		d := systest.NewDisk()
		if setup != nil {
			setup(d)
		}
		errs := make([]error, creators)
		r := systest.Race{FS: d, Actors: others}
		for i := range creators {
			r.Actors = append(r.Actors[:len(r.Actors):len(r.Actors)], func(fs sys.FS) { errs[i] = mkdirAll(fs, path, 0o755) })
		}
		r.Check = func() error { return errors.Join(errs...) }
		return r
	})
	t.Logf("%d interleavings", ran)
	if err != nil {
		t.Error(err)
	}
}

func rmdirs(paths ...string) func(sys.FS) {
	return func(fs sys.FS) {
		for _, p := range paths {
			fs.Rmdir(p)
		}
	}
}

func TestInterleaveTwoCreators(t *testing.T) { race(t, nil, "/a/b/c", 2) }

// G1, G3: the parent, or the target just made by another, is pruned between two calls.
func TestInterleaveTwoCreatorsAndAPruner(t *testing.T) {
	race(t, nil, "/a/b", 2, rmdirs("/a/b", "/a"))
}

func TestInterleaveACreatorAndTwoPruners(t *testing.T) {
	race(t, nil, "/a/b/c", 1, rmdirs("/a/b/c", "/a/b", "/a"), rmdirs("/a/b/c", "/a/b", "/a"))
}

// G2: pruned and rebuilt by another creator meanwhile.
func TestInterleavePrunedAndRebuilt(t *testing.T) {
	race(t, func(d *systest.Disk) { d.Mkdir("/a", 0o755) }, "/a/b/c", 1, func(fs sys.FS) {
		fs.Rmdir("/a")
		fs.Mkdir("/a", 0o755)
		fs.Mkdir("/a/b", 0o755)
		fs.Mkdir("/a/b/c", 0o755)
	})
}

// symlinker is a Disk's FS through which actors can also make links.
func link(d **systest.Disk, target, name string) func(sys.FS) {
	return func(fs sys.FS) {
		fs.Lstat(name) // a call to be scheduled at
		(*d).Symlink(target, name)
	}
}

// G4: a symbolic link to a directory appears between the stat and the mkdir.
func TestInterleaveLinkToDirectoryAppears(t *testing.T) {
	for _, path := range []string{"/l", "/l/x/y"} {
		t.Run(path[1:], func(t *testing.T) {
			var d *systest.Disk
			race(t, func(made *systest.Disk) { d = made; d.Mkdir("/real", 0o755) }, path, 1, func(fs sys.FS) { link(&d, "real", "/l")(fs) })
		})
	}
}

// G5, G6: a regular file in the way is replaced by a directory. While it is a file,
// an error is right; if it was a directory at the last look, none is.
func TestInterleaveFileReplacedByDirectory(t *testing.T) {
	for _, path := range []string{"/f", "/f/x", "/f/x/y"} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			sawBoth := map[bool]bool{}
			_, err := systest.Interleave(100_000, func() systest.Race {
				d := systest.NewDisk()
				f, _ := d.Open("/f", os.O_CREATE|os.O_WRONLY, 0o644)
				f.Close()
				var got error
				replaced := false // before the creator's last look at the target
				var lookedAfter bool
				return systest.Race{FS: d, Actors: []func(sys.FS){
					func(fs sys.FS) {
						watched := systest.Wrap(fs, func(c systest.Call, do func() error) error {
							err := do()
							if c.Op == "stat" && c.Path == path {
								lookedAfter = replaced
							}
							return err
						})
						got = mkdirAll(watched, path, 0o755)
					},
					func(fs sys.FS) {
						fs.Unlink("/f")
						fs.Mkdir("/f", 0o755)
						replaced = path == "/f"
					},
				}, Check: func() error {
					sawBoth[got == nil] = true
					if got != nil && lookedAfter {
						return fmt.Errorf("%w, though it was a directory at the last look", got)
					}
					if got != nil && !errors.Is(got, syscall.ENOTDIR) {
						return fmt.Errorf("unexpected: %w", got)
					}
					return nil
				}}
			})
			if err != nil || len(sawBoth) != 2 {
				t.Errorf("%v; outcomes %v", err, sawBoth)
			}
		})
	}
}

// What the creator itself cannot make, somebody else may make: an error is returned
// only if there was nothing at the last look.
func TestInterleaveLastLook(t *testing.T) {
	t.Parallel()
	const path = "/a/b/c"
	outcomes := map[bool]int{}
	ran, err := systest.Interleave(100_000, func() systest.Race {
		d := systest.NewDisk()
		var got error
		var there bool // at the creator's last look
		return systest.Race{FS: d, Actors: []func(sys.FS){
			func(fs sys.FS) {
				got = mkdirAll(systest.Wrap(fs, func(c systest.Call, do func() error) error {
					err := do()
					if c.Op == "stat" && c.Path == path {
						there = err == nil
					}
					if c.Op == "mkdir" && err == nil {
						d.Rmdir(c.Path)
						err = syscall.ENOSPC
					}
					return err
				}), path, 0o755)
			},
			func(fs sys.FS) { mkdirAll(fs, path, 0o755) },
		}, Check: func() error {
			outcomes[got == nil]++
			if got != nil && there {
				return fmt.Errorf("%w, though it was a directory at the last look", got)
			}
			return nil
		}}
	})
	t.Logf("%d interleavings, outcomes %v", ran, outcomes)
	if err != nil || len(outcomes) != 2 {
		t.Errorf("%v; outcomes %v", err, outcomes)
	}
}

// G7: a link to a directory is there, gone, and there again. It never dangles.
func TestInterleaveFlippingLink(t *testing.T) {
	for _, path := range []string{"/l", "/l/x"} {
		t.Run(path[1:], func(t *testing.T) {
			var d *systest.Disk
			race(t, func(made *systest.Disk) {
				d = made
				d.Mkdir("/real", 0o755)
				d.Symlink("real", "/l")
			}, path, 1, func(fs sys.FS) {
				for range 3 {
					fs.Unlink("/l")
					link(&d, "real", "/l")(fs)
				}
			})
		})
	}
}

// G9, G15: what does not vanish is reported at once, what may is tried again, and a
// target that is there is never an error.
func TestEachErrnoAtEachCall(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EMLINK, syscall.EIO,
		syscall.ELOOP, syscall.ENOTDIR, syscall.EEXIST, syscall.EISDIR, syscall.ENOENT, syscall.ESTALE,
	} {
		for _, executed := range []bool{false, true} {
			for _, exists := range []string{"", "/a", "/a/b", "/a/b/c"} {
				calls, err := systest.EachCall(func(n int) (bool, error) {
					d := systest.NewDisk()
					for i := range strings.Count(exists, "/") {
						d.Mkdir("/a/b/c"[:2*i+2], 0o755)
					}
					faulty, hit := systest.Inject(d, n, systest.Fault{Err: errno, Executed: executed})
					err := mkdirAll(faulty, "/a/b/c", 0o755)
					call, ok := hit()
					_, there := d.Stat("/a/b/c")
					switch me, _ := errors.AsType[*MkdirError](err); {
					case err == nil && there != nil:
						return ok, fmt.Errorf("%v: %v: nil, but there is no directory", call, errno)
					case err != nil && there == nil:
						return ok, fmt.Errorf("%v: %v: %w, but it is there", call, errno, err)
					case err != nil && (me.Attempts > 1 || !errors.Is(err, errno)):
						return ok, fmt.Errorf("%v: %w after %d attempts", call, err, me.Attempts)
					case errno == syscall.ENOENT && call.Path == "/a":
						// Nothing is above it that could be made again.
					case err != nil && (errno == syscall.ESTALE || errno == syscall.ENOENT):
						return ok, fmt.Errorf("%v: %v: once is not for good: %w", call, errno, err)
					}
					return ok, nil
				})
				if err != nil {
					t.Errorf("exists=%q executed=%t: %v", exists, executed, err)
				}
				if calls == 0 {
					t.Error("no call was made")
				}
			}
		}
	}
}

// G10 in the model: what the umask takes from a directory of ours is given back.
func TestUnmask(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	denied := systest.Wrap(d, func(c systest.Call, do func() error) error {
		if c.Op == "mkdir" && c.Path == "/a/b" {
			if i, err := d.Stat("/a"); err == nil && i.Mode&0o300 != 0o300 {
				return syscall.EACCES
			}
		}
		err := do()
		if c.Op == "mkdir" && c.Path == "/a" && err == nil {
			d.Chmod("/a", 0o400) // umask 0377
		}
		return err
	})
	if err := mkdirAll(denied, "/a/b", 0o755); err != nil {
		t.Error(err)
	}
	if i, _ := d.Stat("/a"); i.Mode.Perm() != 0o700 {
		t.Errorf("mode of the parent is %v, want 0700", i.Mode)
	}
}

// G12: a directory that was there keeps the mode its owner gave it, even if that keeps us out.
func TestUnmaskIsOfOurOwnOnly(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	d.Mkdir("/a", 0o500)
	denied := systest.Wrap(d, func(c systest.Call, do func() error) error {
		if i, _ := d.Stat("/a"); c.Op == "mkdir" && c.Path == "/a/b" && i.Mode&0o300 != 0o300 {
			return syscall.EACCES
		}
		return do()
	})
	if err := mkdirAll(denied, "/a/b", 0o755); !errors.Is(err, syscall.EACCES) {
		t.Errorf("mkdirAll = %v", err)
	}
	if i, _ := d.Stat("/a"); i.Mode.Perm() != 0o500 {
		t.Errorf("its mode is %v now", i.Mode)
	}
}

// G10: parents get u+wx at once, also where nobody would be refused for the lack of it.
func TestParentsAreWritable(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	if err := mkdirAll(d, "/a/b/c", 0o500); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"/a": 0o700, "/a/b": 0o700, "/a/b/c": 0o500} {
		if i, _ := d.Stat(name); i.Mode.Perm() != want {
			t.Errorf("mode of %s is %v, want %v", name, i.Mode.Perm(), want)
		}
	}
}

// G12: who comes first decides the mode.
func TestExistingModeIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "a"), 0o711)
	if err := MkdirAll(filepath.Join(dir, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(dir, "a/b"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"a": 0o711, "a/b": 0o700} {
		if i, _ := os.Stat(filepath.Join(dir, name)); i.Mode().Perm() != want {
			t.Errorf("mode of %s is %v, want %v", name, i.Mode().Perm(), want)
		}
	}
}

// TestDeadEndCostsLittle: /proc answers every mkdir with ENOENT, as if somebody
// removed the parent each time.
func TestDeadEndCostsLittle(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	d.Mkdir("/proc", 0o755)
	n := 0
	fs := systest.Wrap(d, func(c systest.Call, do func() error) error {
		n++
		if c.Op == "mkdir" && strings.HasPrefix(c.Path, "/proc/") {
			return syscall.ENOENT
		}
		return do()
	})
	err := mkdirAll(fs, "/proc/a/b", 0o755)
	if !errors.Is(err, syscall.ENOENT) || n > 10*maxIdle {
		t.Errorf("%v after %d calls", err, n)
	}
}
