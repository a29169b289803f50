// SPDX-License-Identifier: MIT

package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/fsrace"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

const roleEnv = "SPOOL_TEST_ROLE"

// roles are what the test binary does when it plays another process.
var roles = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// must fails the test with err, if there is one.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start opens a spool in dir for the length of the test.
func start(t testing.TB, dir string, cfg Config) *Spool {
	t.Helper()
	s, err := Open(dir, cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s *Spool, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, s.Put(name, strings.NewReader("content of "+name)))
	}
}

func claim(t testing.TB, s *Spool) *Claim {
	t.Helper()
	c, err := s.TryClaim()
	must(t, err)
	return c
}

func content(t testing.TB, c *Claim) string {
	t.Helper()
	f, err := c.Open()
	must(t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	must(t, err)
	return string(data)
}

// states lists the jobs as "name state attempt", sorted.
func states(t testing.TB, s *Spool) []string {
	t.Helper()
	entries, err := s.Entries()
	must(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, fmt.Sprintf("%s %s %d", e.Name, e.State, e.Attempt))
	}
	slices.Sort(list)
	return list
}

// files counts the files in a part of a real spool.
func files(t testing.TB, s *Spool, part string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, part))
	must(t, err)
	return len(entries)
}

// shm is a new directory in memory where there is one, to spare the disk.
func shm(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "spool-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// on opens a spool with a file system of the test's, in which nobody is dead
// unless dead says so, and candidates come in order.
func on(t testing.TB, fsys sys.FS, dir string, cfg Config, dead ...*Spool) *Spool {
	t.Helper()
	s, err := open(dir, cfg, fsys)
	must(t, err)
	s.jobs.shuffle = slices.Sort[[]string]
	s.bury(dead...)
	return s
}

// bury makes s take those others for dead.
func (s *Spool) bury(dead ...*Spool) {
	s.liveness = func(o fsrace.Owner) fsrace.Liveness {
		for _, d := range dead {
			if d.owner.Nonce == o.Nonce {
				return fsrace.Dead
			}
		}
		return fsrace.Alive
	}
}

func newCause(t testing.TB, cause error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(t.Context())
	return ctx, func() { cancel(cause) }
}

func isFormatError(err error) bool {
	_, ok := errors.AsType[*FormatError](err)
	return ok
}
