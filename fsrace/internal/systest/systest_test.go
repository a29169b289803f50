// SPDX-License-Identifier: MIT

package systest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(fdguardtest.Main(m)) }

// write makes a file, in the naive way.
func write(fs sys.FS, name, text string, sync bool) error {
	f, err := fs.Open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write([]byte(text)); err != nil || !sync {
		return err
	}
	return f.Sync()
}

func TestInterleaveRunsEveryOrderOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	ran, err := systest.Interleave(1000, func() systest.Race {
		var order strings.Builder
		actor := func(name string) func(sys.FS) {
			return func(fs sys.FS) {
				for range 3 {
					fs.Mkdir("/"+name, 0o755)
					order.WriteString(name) // one actor at a time: the race detector is the judge
				}
			}
		}
		return systest.Race{
			FS:     systest.NewDisk(),
			Actors: []func(sys.FS){actor("a"), actor("b")},
			Check:  func() error { seen[order.String()]++; return nil },
		}
	})
	if err != nil || ran != 20 || len(seen) != 20 { // 6!/(3!·3!)
		t.Errorf("ran %d schedules, %d different, %v; want 20", ran, len(seen), err)
	}
}

// Leaving out orders that differ in what commutes leaves out no outcome: for programs
// at random, on few directories.
func TestInterleaveOfWhatCommutesLosesNoOutcome(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	all, few := 0, 0
	for range 40 {
		var programs [3][]int // each call is a directory and what to do with it
		for i := range programs {
			for range 1 + r.IntN(3) {
				programs[i] = append(programs[i], r.IntN(9))
			}
		}
		outcomes := func(apart func(a, b systest.Call) bool) (map[string]bool, int) {
			seen := map[string]bool{}
			ran, err := systest.Interleave(1<<20, func() systest.Race {
				race := systest.Race{FS: systest.NewDisk(), Apart: apart}
				var results [3]string // each actor's own
				for i, program := range programs {
					race.Actors = append(race.Actors, func(fs sys.FS) {
						for _, call := range program {
							name := fmt.Sprint("/", call/3)
							var err error
							switch call % 3 {
							case 0:
								err = fs.Mkdir(name, 0o755)
							case 1:
								err = fs.Rmdir(name)
							case 2:
								_, err = fs.Stat(name)
							}
							results[i] += fmt.Sprintln(err)
						}
					})
				}
				race.Check = func() error { seen[fmt.Sprint(results)] = true; return nil }
				return race
			})
			if err != nil {
				t.Fatal(err)
			}
			return seen, ran
		}
		want, n := outcomes(nil)
		got, m := outcomes(func(a, b systest.Call) bool { return a.Path != b.Path || a.Op == "stat" && b.Op == "stat" })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%v: outcomes (-all +commuting left out):\n%s", programs, diff)
		}
		all, few = all+n, few+m
	}
	t.Logf("%d orders, %d of them enough", all, few)
	if few > all/2 {
		t.Error("hardly any order was left out")
	}
}

func TestInterleaveFindsTheLostUpdate(t *testing.T) {
	t.Parallel()
	ran, err := systest.Interleave(1000, func() systest.Race {
		d := systest.NewDisk()
		wins := 0
		claim := func(fs sys.FS) { // check, then act: both can win
			if _, err := fs.Stat("/claim"); err != nil {
				write(fs, "/claim", "mine", false)
				wins++
			}
		}
		return systest.Race{FS: d, Actors: []func(sys.FS){claim, claim}, Check: func() error {
			if wins != 1 {
				return fmt.Errorf("%d winners", wins)
			}
			return nil
		}}
	})
	if err == nil {
		t.Errorf("no schedule of %d shows two winners", ran)
	}
}

func TestInjectReachesEachCall(t *testing.T) {
	t.Parallel()
	for _, fault := range []systest.Fault{{Err: syscall.EIO}, {Err: syscall.EIO, Executed: true}} {
		var hits []string
		calls, err := systest.EachCall(func(n int) (bool, error) {
			fs, hit := systest.Inject(systest.NewDisk(), n, fault)
			err := write(fs, "/f", "text", true)
			c, ok := hit()
			// write ignores what close reports.
			if ok && c.Op != "close" && !errors.Is(err, syscall.EIO) || !ok && err != nil {
				return ok, fmt.Errorf("%v gave %v", c, err)
			}
			if ok {
				hits = append(hits, c.String())
			}
			return ok, nil
		})
		if want := []string{"open /f", "write /f", "sync /f", "close /f"}; err != nil || calls != 4 || !cmp.Equal(hits, want) {
			t.Errorf("%d calls %q, %v; want %q", calls, hits, err, want)
		}
	}
}

func TestKillEndsTheActorAtTheCall(t *testing.T) {
	t.Parallel()
	for executed, want := range map[bool]string{false: "", true: "text"} {
		d := systest.NewDisk()
		fs, _ := systest.Inject(d, 1, systest.Fault{Kill: true, Executed: executed})
		if systest.Killable(func() { write(fs, "/f", "text", true) }) {
			t.Error("the actor outlived its death")
		}
		if got := d.Files(); got["/f"] != want {
			t.Errorf("executed=%t: %q, want %q", executed, got, want)
		}
	}
}

func TestCrashForgetsWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	states := func(steps func(d *systest.Disk)) map[string]bool {
		d := systest.NewDisk()
		steps(d)
		got := map[string]bool{}
		d.EachCrash(func(after *systest.Disk) error {
			got[fmt.Sprint(after.Files())] = true
			return nil
		})
		return got
	}
	for name, tc := range map[string]struct {
		steps func(d *systest.Disk)
		want  []string
	}{
		"nothing synced": {
			func(d *systest.Disk) { write(d, "/f", "x", false) },
			[]string{"map[]", "map[/f:]", "map[/f:x]"},
		},
		"data synced, name not": {
			func(d *systest.Disk) { write(d, "/f", "x", true) },
			[]string{"map[]", "map[/f:x]"},
		},
		"name synced, data not": {
			func(d *systest.Disk) { write(d, "/f", "x", false); d.SyncDir("/") },
			[]string{"map[/f:]", "map[/f:x]"},
		},
		"all synced": {
			func(d *systest.Disk) { write(d, "/f", "x", true); d.SyncDir("/") },
			[]string{"map[/f:x]"},
		},
		"parent's name not synced": {
			func(d *systest.Disk) { d.Mkdir("/d", 0o755); write(d, "/d/f", "x", true); d.SyncDir("/d") },
			[]string{"map[]", "map[/d/f:x]"},
		},
		"rename between directories is one step": {
			func(d *systest.Disk) {
				d.Mkdir("/a", 0o755)
				d.Mkdir("/b", 0o755)
				write(d, "/a/f", "x", true)
				d.SyncDir("/")
				d.SyncDir("/a")
				d.Rename("/a/f", "/b/f")
			},
			[]string{"map[/a/f:x]", "map[/b/f:x]"},
		},
		"saving one end of a rename saves the other": {
			func(d *systest.Disk) {
				d.Mkdir("/a", 0o755)
				d.Mkdir("/b", 0o755)
				d.SyncDir("/")
				write(d, "/a/f", "x", true)
				d.Rename("/a/f", "/b/f")
				d.SyncDir("/b")
			},
			[]string{"map[/b/f:x]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string]bool{}
			for _, w := range tc.want {
				want[w] = true
			}
			if diff := cmp.Diff(want, states(tc.steps)); diff != "" {
				t.Errorf("states after a crash (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDiskAgreesWithTheKernel makes the same calls on a Disk and on a directory of
// the real thing, and compares every error.
func TestDiskAgreesWithTheKernel(t *testing.T) {
	t.Parallel()
	if sys.NoFollow == 0 {
		t.Skip("errors have other names on this platform")
	}
	real := sys.OS{}
	dir := t.TempDir()
	disk := systest.NewDisk()
	both := func(what string, call func(fs sys.FS, at func(string) string) error) {
		t.Helper()
		want := call(real, func(p string) string { return filepath.Join(dir, p) })
		got := call(disk, func(p string) string { return "/" + p })
		if got != want && !(errors.Is(want, errors.ErrUnsupported)) {
			t.Errorf("%s: the disk says %v, the kernel %v", what, got, want)
		}
	}
	os.Symlink("nowhere", filepath.Join(dir, "dangling"))
	disk.Symlink("nowhere", "/dangling")
	os.Symlink("d", filepath.Join(dir, "todir"))
	disk.Symlink("d", "/todir")
	os.Symlink("loop", filepath.Join(dir, "loop"))
	disk.Symlink("loop", "/loop")
	names := []string{"d", "d/e", "f", "f/x", "gone", "gone/x", "dangling", "dangling/x", "todir", "todir/y", "loop", "loop/x"}
	both("mkdir d", func(fs sys.FS, at func(string) string) error { return fs.Mkdir(at("d"), 0o755) })
	both("mkdir d/e", func(fs sys.FS, at func(string) string) error { return fs.Mkdir(at("d/e"), 0o755) })
	both("write f", func(fs sys.FS, at func(string) string) error { return write(fs, at("f"), "x", false) })
	for _, a := range names {
		for op, call := range map[string]func(fs sys.FS, name string) error{
			"stat":    func(fs sys.FS, name string) error { _, err := fs.Stat(name); return err },
			"lstat":   func(fs sys.FS, name string) error { _, err := fs.Lstat(name); return err },
			"readdir": func(fs sys.FS, name string) error { _, err := fs.ReadDir(name); return err },
			"rmdir d": func(fs sys.FS, name string) error {
				if filepath.Base(name) == "e" {
					return nil // it would succeed
				}
				return fs.Rmdir(name)
			},
			"mkdir": func(fs sys.FS, name string) error {
				err := fs.Mkdir(name, 0o755)
				if err == nil {
					err = fs.Rmdir(name)
				}
				return err
			},
			"open": func(fs sys.FS, name string) error {
				f, err := fs.Open(name, os.O_RDWR|sys.NoFollow, 0)
				if err == nil {
					f.Close()
				}
				return err
			},
			"create": func(fs sys.FS, name string) error {
				f, err := fs.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
				if err == nil {
					f.Close()
					err = fs.Unlink(name)
				}
				return err
			},
		} {
			both(op+" "+a, func(fs sys.FS, at func(string) string) error { return call(fs, at(a)) })
		}
		for _, b := range names {
			both("noreplace "+a+" "+b, func(fs sys.FS, at func(string) string) error {
				err := fs.RenameNoReplace(at(a), at(b))
				if err == nil {
					err = fs.Rename(at(b), at(a))
				}
				return err
			})
			both("link "+a+" "+b, func(fs sys.FS, at func(string) string) error {
				err := fs.Link(at(a), at(b))
				if err == nil {
					err = fs.Unlink(at(b))
				}
				return err
			})
		}
	}
}
