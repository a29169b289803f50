// SPDX-License-Identifier: MIT

package execsafe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A cgroup contains one run: the child is born in it (CLONE_INTO_CGROUP, Linux 5.7),
// no descendant can leave it without a privilege, and cgroup.kill (5.14) ends all
// of them at once, those that are being forked included. See cgroups(7).
type cgroup struct {
	path   string
	dir    *os.File
	killer *os.File // cgroup.kill, open in case there is no descriptor left when it counts
}

func newCgroup(parent string) (*cgroup, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(parent, &st); err != nil {
		return nil, fmt.Errorf("%w: Runner.Cgroup: %w", ErrInvalid, &fs.PathError{Op: "statfs", Path: parent, Err: err})
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, fmt.Errorf("%w: Runner.Cgroup: %s is not in a cgroup v2 file system", ErrInvalid, parent)
	}
	path, err := os.MkdirTemp(parent, "execsafe-*")
	if err != nil {
		return nil, fmt.Errorf("%w: Runner.Cgroup: %w", ErrInvalid, err)
	}
	killer, err := os.OpenFile(filepath.Join(path, "cgroup.kill"), os.O_WRONLY, 0)
	if err != nil {
		_ = os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("no cgroup.kill: %w", errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("%w: Runner.Cgroup: %w", ErrInvalid, err)
	}
	dir, err := os.Open(path)
	if err != nil {
		_ = killer.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("%w: Runner.Cgroup: %w", ErrInvalid, err)
	}
	return &cgroup{path: path, dir: dir, killer: killer}, nil
}

func (g *cgroup) kill() error {
	_, err := g.killer.WriteAt([]byte("1"), 0)
	return err
}

// members counts the processes in the cgroup and the ones below it. Zombies are
// not listed.
func (g *cgroup) members() (n int) {
	_ = filepath.WalkDir(g.path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			if b, err := os.ReadFile(filepath.Join(path, "cgroup.procs")); err == nil {
				n += bytes.Count(b, []byte("\n"))
			}
		}
		return nil
	})
	return n
}

// close removes the cgroup and those made below it, for which it must be empty.
func (g *cgroup) close(leave bool, patience time.Duration) error {
	_ = g.dir.Close()
	defer g.killer.Close()
	if leave && g.members() > 0 {
		return nil
	}
	_ = g.kill()
	var err error
	waitUntil(patience, func() bool {
		var dirs []string
		_ = filepath.WalkDir(g.path, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			err = unix.Rmdir(dirs[i])
		}
		return err == nil || err == unix.ENOENT
	})
	if err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "rmdir", Path: g.path, Err: err}
	}
	return nil
}
