// SPDX-License-Identifier: MIT

package execsafe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// delegated makes a cgroup v2 directory of the test's own, where it may.
func delegated(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(own)) {
			path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
			if !ok {
				continue
			}
			dir, err := os.MkdirTemp(filepath.Join(root, path), "execsafe-test-*")
			if err != nil {
				t.Skipf("no delegated cgroup: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
				os.Remove(dir)
				t.Skip("no cgroup.kill before Linux 5.14")
			}
			t.Cleanup(func() {
				if err := os.Remove(dir); err != nil {
					t.Errorf("a run has left its cgroup: %v", err)
				}
			})
			return dir
		}
	}
	t.Skip("no cgroup v2 is mounted")
	return ""
}

// G21: what a process group cannot do.
func TestCgroupContainsEscapees(t *testing.T) {
	t.Parallel()
	dir := delegated(t)
	r := Runner{Cgroup: dir}
	within(t, defaultLinger, func() {
		res, err := r.Run(t.Context(), do(t, "forksetsid:ignore+sleep:1m"))
		if !errors.Is(err, ErrPipeHeld) || res.Swept != 1 {
			t.Errorf("holder: %+v, %v", res, err)
		}
		gone(t, res)
	})
	r.Grace = 50 * time.Millisecond
	res, err := untilReady(t, r, "forksetsid:ignore+sleep:1m", "forkquiet:sleep:1m", "out:ready", "sleep:1m")
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("timeout: %+v, %v", res, err)
	}
	gone(t, res)
	if res := mustRun(t, r, do(t, "out:fine")); res.Swept != 0 || res.Stdout.String() != "fine" {
		t.Errorf("%+v", res)
	}
	if _, err := r.Run(t.Context(), do(t, "exit:3")); err == nil {
		t.Error("no error")
	}
}

func TestCgroupIsLeftToLeftovers(t *testing.T) {
	t.Parallel()
	dir := delegated(t)
	r := Runner{Cgroup: dir, Leftovers: LeaveLeftovers, Linger: 20 * time.Millisecond}
	res := mustRun(t, r, do(t, "forksetsid:sleep:1m"))
	left := pids(res.Stdout.String())
	if len(left) != 1 || !alive(left[0]) {
		t.Errorf("%+v", res)
	}
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	eventually(t, "the cgroup to be empty", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "execsafe-*"))
		for _, name := range names {
			os.Remove(name)
		}
		names, _ = filepath.Glob(filepath.Join(dir, "execsafe-*"))
		return len(names) == 0
	})
}

func TestCgroupThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{t.TempDir(), "/nowhere/at/all", os.Args[0]} {
		if _, err := (Runner{Cgroup: dir}).Run(t.Context(), do(t, "out:x")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "Cgroup") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	dir := delegated(t)
	cmd := do(t)
	cmd.Path = "/nowhere/at/all"
	if _, err := (Runner{Cgroup: dir}).Run(t.Context(), cmd); err == nil {
		t.Error("it ran")
	}
}
