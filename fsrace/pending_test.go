// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// writeFile is WriteFile on other calls, without the sweeping.
func writeFile(calls sys.FS, name, text string, commit func(*Pending) error) error {
	p := newPending(calls, name, 0o644)
	if err := p.begin(); err != nil {
		return err
	}
	defer p.Discard()
	if _, err := p.Write([]byte(text)); err != nil {
		return err
	}
	return commit(p)
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		name := filepath.Join(dir, "a/b/f")
		for _, text := range []string{"one", "", strings.Repeat("long", 100_000)} {
			if err := WriteFile(name, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(name); err != nil || string(got) != text {
				t.Errorf("read %d bytes, %v; want %d", len(got), err, len(text))
			}
		}
		if got := list(t, filepath.Dir(name)); len(got) != 1 {
			t.Errorf("there is %q", got)
		}
		if i, _ := os.Stat(name); i.Mode().Perm()&^0o640 != 0 {
			t.Errorf("mode %v", i.Mode())
		}
		// G64: a link is replaced, a directory with something in it is an error.
		link := filepath.Join(dir, "link")
		os.Symlink(name, link)
		if err := WriteFile(link, []byte("new"), 0o644); err != nil {
			t.Error(err)
		}
		if i, _ := os.Lstat(link); !i.Mode().IsRegular() {
			t.Errorf("the link was followed: %v", i.Mode())
		}
		if err := WriteFile(filepath.Join(dir, "a"), nil, 0o644); !errors.Is(err, syscall.EISDIR) && !errors.Is(err, fs.ErrExist) {
			t.Errorf("over a directory: %v", err)
		}
		if got := list(t, dir); len(got) != 2 {
			t.Errorf("there is %q", got)
		}
	})
}

func TestPendingIsIdempotent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	begin := func(text string) *Pending {
		p, err := NewPending(name, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := begin("one")
	if err := errors.Join(p.Commit(), p.Commit(), p.CommitNew(), p.Discard(), p.Discard(), p.Commit()); err != nil {
		t.Error(err)
	}
	if _, err := p.Write(nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Commit = %v", err)
	}
	p = begin("two")
	for range 2 {
		if err := p.CommitNew(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("CommitNew = %v", err)
		}
	}
	p = begin("three")
	if err := errors.Join(p.Discard(), p.Discard()); err != nil {
		t.Error(err)
	}
	if err := p.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit after Discard = %v", err)
	}
	// G61: what another has put in the place of our temporary name is not ours to remove.
	if got, _ := os.ReadFile(name); string(got) != "one" || len(list(t, dir)) != 1 {
		t.Errorf("there is %q in %q", got, list(t, dir))
	}
}

// G63: of many writers of one new name exactly one wins.
func TestCommitNewHasOneWinner(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		for round := range 20 {
			name := filepath.Join(dir, fmt.Sprint(round), "f")
			var wins atomic.Int64
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					err := func() error {
						p, err := NewPending(name, 0o644)
						if err != nil {
							return err
						}
						defer p.Discard()
						fmt.Fprint(p, i)
						return p.CommitNew()
					}()
					if err == nil {
						wins.Add(1)
					} else if !errors.Is(err, fs.ErrExist) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if wins.Load() != 1 || len(list(t, filepath.Dir(name))) != 1 {
				t.Errorf("%d winners, %q", wins.Load(), list(t, filepath.Dir(name)))
			}
		}
	})
}

func TestInterleaveCommitNew(t *testing.T) {
	t.Parallel()
	// What one does with its own temporary file under that name is nothing to the other.
	private := func(c systest.Call) bool { return c.To == "" && strings.HasPrefix(c.Path, "/"+tempPrefix) }
	for name, lacks := range map[string]bool{"rename": false, "link": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const limit = 100_000
			ran, err := systest.Interleave(limit, func() systest.Race {
				d := systest.NewDisk()
				var errs [2]error
				actor := func(i int) func(sys.FS) {
					return func(fs sys.FS) { errs[i] = writeFile(fs, "/f", fmt.Sprint(i), (*Pending).CommitNew) }
				}
				return systest.Race{
					FS: lacking(d, lacks), Actors: []func(sys.FS){actor(0), actor(1)},
					Apart: func(a, b systest.Call) bool { return private(a) || private(b) },
					Check: func() error {
						for i, err := range errs {
							if err == nil && errors.Is(errs[1-i], fs.ErrExist) && d.Files()["/f"] == fmt.Sprint(i) {
								return litter(d)
							}
						}
						return fmt.Errorf("%v; %v", errs, d.Files())
					},
				}
			})
			t.Logf("%d interleavings", ran)
			if err != nil || ran == limit {
				t.Error(err)
			}
		})
	}
}

// G63: where neither way exists, that is said.
func TestCommitNewUnsupported(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	calls := systest.Wrap(lacking(d, true), func(c systest.Call, do func() error) error {
		if c.Op == "link" {
			return errors.ErrUnsupported
		}
		return do()
	})
	if err := writeFile(calls, "/f", "x", (*Pending).CommitNew); !errors.Is(err, errors.ErrUnsupported) || len(d.Files()) != 0 {
		t.Errorf("CommitNew = %v; %v", err, d.Files())
	}
}

var commits = map[string]func(*Pending) error{"Commit": (*Pending).Commit, "CommitNew": (*Pending).CommitNew}

// G56, G57: after a crash at any call there is the old file or the new one, whole;
// once it is written, the new one, in directories that are new themselves, too.
func TestCrashAtEachCall(t *testing.T) {
	t.Parallel()
	for what, commit := range commits {
		for _, old := range []bool{true, false} {
			if old && what == "CommitNew" {
				continue
			}
			for _, executed := range []bool{false, true} {
				calls, err := systest.EachCall(func(n int) (bool, error) {
					d := systest.NewDisk()
					if old {
						if err := writeFile(d, "/a/b/f", "old", commit); err != nil {
							return true, err
						}
					}
					doomed, hit := systest.Inject(d, n, systest.Fault{Kill: true, Executed: executed})
					var err error
					ended := systest.Killable(func() { err = writeFile(doomed, "/a/b/f", "new", commit) })
					if ended && err != nil {
						return true, err
					}
					call, ok := hit()
					return ok, d.EachCrash(func(after *systest.Disk) error {
						got, exists := after.Files()["/a/b/f"]
						if got == "new" || !ended && (old && got == "old" || !old && !exists) {
							return nil
						}
						return fmt.Errorf("killed at %v: %q (exists=%t) found after the crash", call, got, exists)
					})
				})
				t.Logf("%s old=%t executed=%t: %d calls", what, old, executed, calls)
				if err != nil {
					t.Errorf("%s old=%t executed=%t: %v", what, old, executed, err)
				}
			}
		}
	}
}

// G58, G59, G66 and the lost reply (G28): any errno at any call, made or not.
func TestEachErrnoOfPending(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"Commit", "CommitNew", "CommitNew by link"} {
		commit, byLink := (*Pending).CommitNew, what == "CommitNew by link"
		if what == "Commit" {
			commit = (*Pending).Commit
		}
		for _, errno := range []error{
			syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EACCES, syscall.ENOENT, syscall.ESTALE, syscall.EEXIST, syscall.EISDIR,
		} {
			for _, executed := range []bool{false, true} {
				_, err := systest.EachCall(func(n int) (bool, error) {
					d := systest.NewDisk()
					mkdirAll(d, "/a", 0o755)
					if what == "Commit" {
						writeFile(d, "/a/f", "old", commit)
					}
					syncs := 0
					faulty, hit := systest.Inject(systest.Wrap(lacking(d, byLink), func(c systest.Call, do func() error) error {
						if c.Op == "sync" {
							syncs++
						}
						return do()
					}), n, systest.Fault{Err: errno, Executed: executed})
					err := writeFile(faulty, "/a/f", "new", commit)
					call, ok := hit()
					got := d.Files()["/a/f"]
					bad := func(why string) (bool, error) {
						return ok, fmt.Errorf("%v: %v: %s: %v; %q", call, errno, why, err, got)
					}
					switch {
					case err == nil && got != "new":
						return bad("success, but not written")
					case err != nil && !errors.Is(err, errno):
						return bad("another error")
					case err != nil && !errors.Is(err, ErrNotDurable) && got == "new":
						return bad("an error, but written")
					case errors.Is(err, ErrNotDurable) && got != "new":
						return bad("said to be written")
					case call.Op == "sync" && (err == nil || syncs > 1):
						return bad("a failed fsync is no success, and never repeated")
					case (strings.HasPrefix(call.Op, "rename") && !byLink || call.Op == "link") && executed && err != nil:
						return bad("a lost reply is no failure")
					}
					// Only a temporary file that could not be closed or unlinked may stay.
					if call.Op != "unlink" && !(executed && call.Op == "open") && err == nil {
						if err := litter(d); err != nil {
							return ok, fmt.Errorf("%v: %v: %w", call, errno, err)
						}
					}
					return ok, nil
				})
				if err != nil {
					t.Errorf("%s executed=%t: %v", what, executed, err)
				}
			}
		}
	}
}

// G21: the directory goes before the commit, by a pruner that spares nothing.
func TestCommitAfterRemoveAll(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		for what, commit := range commits {
			name := filepath.Join(dir, what, "b/f")
			p, err := NewPending(name, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(p, strings.Repeat("text", 10_000))
			os.RemoveAll(filepath.Join(dir, what))
			if err := commit(p); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(name); len(got) != 40_000 || err != nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if got := list(t, filepath.Dir(name)); len(got) != 1 {
				t.Errorf("there is %q", got)
			}
		}
	})
}

func TestInterleaveCommitAndRemover(t *testing.T) {
	t.Parallel()
	limit := 15_000
	if testing.Short() {
		limit = 1_500
	}
	ran, err := systest.Interleave(limit, func() systest.Race {
		d := systest.NewDisk()
		var err error
		return systest.Race{FS: d, Actors: []func(sys.FS){
			func(fs sys.FS) { err = writeFile(fs, "/a/f", "new", (*Pending).Commit) },
			func(fs sys.FS) { fs.RemoveAll("/a") },
		}, Check: func() error {
			if got, there := d.Files()["/a/f"]; err != nil || there && got != "new" {
				return fmt.Errorf("%w; %v", err, d.Files())
			}
			return litter(d)
		}}
	})
	t.Logf("%d interleavings", ran)
	if err != nil {
		t.Error(err)
	}
}

// G28: a reply is lost just when the directory was removed, and the file written again.
func TestLostReplyAfterTheDirectoryWent(t *testing.T) {
	t.Parallel()
	for what, commit := range commits {
		d := systest.NewDisk()
		mkdirAll(d, "/a", 0o755)
		calls := systest.Wrap(d, func(c systest.Call, do func() error) error {
			if !strings.HasPrefix(c.Op, "rename") || c.To != "/a/f" {
				return do()
			}
			if err := do(); err != nil {
				return err
			}
			return syscall.EIO
		})
		err := writeFile(calls, "/a/f", "new", func(p *Pending) error {
			d.RemoveAll("/a")
			return commit(p)
		})
		if got := d.Files()["/a/f"]; err != nil || got != "new" {
			t.Errorf("%s = %v; there is %q", what, err, got)
		}
	}
}
