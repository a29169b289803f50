// SPDX-License-Identifier: MIT

//go:build unix

package fdguardtest_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

// G24
func TestWorksWithNoDescriptorLeft(t *testing.T) {
	t.Parallel()
	if out, code := runHelper(t, "plain", "^TestBodyNoDescriptorLeft$"); code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestBodyNoDescriptorLeft(t *testing.T) {
	helperOnly(t)
	limit := unix.Rlimit{Cur: 64, Max: 64}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Skip(err)
	}
	current := fdguardtest.IgnoreCurrent()
	var open []*os.File
	for {
		f, err := os.Open(os.Args[0])
		if errors.Is(err, unix.EMFILE) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	got := verify(t.Name(), current)
	if n := strings.Count(got, "unguarded fd "); n != len(open) {
		t.Errorf("%d descriptors reported, want %d:\n%s", n, len(open), got)
	}
	for _, f := range open {
		f.Close()
	}
	if got := verify(t.Name(), current); got != "" {
		t.Errorf("after all were closed: %s", got)
	}
}

// A descriptor without close-on-exec is a leak as much as any other.
func TestRawDescriptorWithoutCloexec(t *testing.T) {
	fd, err := unix.Open(os.Args[0], unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if got := verify(t.Name()); strings.Count(got, "unguarded fd ") != 1 {
		t.Errorf("report:\n%s", got)
	}
}
