// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// A process that is killed at any call of Create or OpenFile leaves the target absent or
// whole, and nothing else but what bears a name of ours; and once its owner is known
// to be dead, the next Create removes that.
func TestCreateKilledAtEachCall(t *testing.T) {
	t.Parallel()
	dead := Self("")
	if dead.BootID == "" {
		t.Skip("no proof of death here")
	}
	dead.Start++ // the PID is in use by another: by us
	sawTarget, sawLitter, sawNone := false, false, false
	for _, there := range []string{"/", "/a", "/a/b"} {
		for what, tc := range map[string]struct {
			movable bool
			missing error // what fn or the open said before
		}{"Create": {}, "Create, pruned at first": {missing: syscall.ENOENT}, "OpenFile": {true, syscall.ENOENT}} {
			for variant := range 4 {
				executed, lacks := variant&1 != 0, variant&2 != 0
				calls, err := systest.EachCall(func(n int) (bool, error) {
					d := systest.NewDisk()
					mkdirAll(d, there, 0o755)
					writeFile(d, "/src", "whole", (*Pending).Commit)
					doomed, hit := systest.Inject(lacking(d, lacks), n, systest.Fault{Kill: true, Executed: executed})
					var err error
					ended := systest.Killable(func() {
						err = createFrom(creator{calls: doomed, movable: tc.movable}, tc.missing)
					})
					call, ok := hit()
					if ended && err != nil {
						return ok, err
					}
					litter, others := names(d, "/")
					delete(others, "/a")
					delete(others, "/a/b")
					if _, made := others["/a/b/f"]; made {
						sawTarget = true
						if d.Files()["/a/b/f"] != "whole" && !tc.movable {
							return ok, fmt.Errorf("killed at %v: the target is %q", call, d.Files())
						}
						delete(others, "/a/b/f")
					} else if sawNone = true; ended {
						return ok, fmt.Errorf("it is not there: %v", d.Files())
					}
					if delete(others, "/src"); len(others) > 0 || ended && len(litter) > 0 {
						return ok, fmt.Errorf("killed at %v: there is %v, and of ours %v", call, others, litter)
					}
					for _, name := range litter {
						sawLitter = true
						if err := d.Rename(name, path.Join(path.Dir(name), tempPrefix+dead.String())); err != nil {
							return ok, err
						}
					}
					writeFile(d, "/src", "whole", (*Pending).Commit)
					if err := createFrom(creator{calls: lacking(d, lacks), swept: new(sweeper)}, nil); err != nil {
						return ok, fmt.Errorf("the next one, after a kill at %v: %w", call, err)
					}
					if litter, others := names(d, "/"); len(litter) > 0 || !others["/a/b/f"] {
						return ok, fmt.Errorf("the next one, after a kill at %v, left %v; %v", call, litter, d.Files())
					}
					return ok, nil
				})
				if err != nil || calls < 2 {
					t.Errorf("%s, %s is there, executed=%t, no renameat2=%t: %d calls, %v", what, there, executed, lacks, calls, err)
				}
			}
		}
	}
	if !sawTarget || !sawLitter || !sawNone {
		t.Errorf("the kills did not hit what they were meant to: target %t, none %t, litter %t", sawTarget, sawNone, sawLitter)
	}
}

// createFrom has c make /a/b/f, by a rename of /src, or anew if that may be done
// elsewhere, too. missing is as for create.
func createFrom(c creator, missing error) error {
	fn := func(name string) error { return c.calls.Rename("/src", name) }
	if c.movable {
		fn = touch(c.calls)
	}
	if missing == nil {
		return c.createIn("/a/b/", "/a/b/f", fn)
	}
	return c.create("/a/b/f", missing, fn)
}

// names returns the paths below dir, apart from each other those of our own making
// and not what is in them, and all others.
func names(d *systest.Disk, dir string) (ours []string, others map[string]bool) {
	others = map[string]bool{}
	list, err := d.ReadDir(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, others
	}
	for _, base := range list {
		name := path.Join(dir, base)
		if strings.HasPrefix(base, tempPrefix) {
			ours = append(ours, name)
			continue
		}
		others[name] = true
		moreOurs, more := names(d, name)
		ours = append(ours, moreOurs...)
		for name := range more {
			others[name] = true
		}
	}
	return ours, others
}
