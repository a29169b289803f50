// SPDX-License-Identifier: MIT

package fsrace

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

// helpers are the parts that this test binary plays in processes of its own.
var helpers = map[string]func(args []string){}

const helperEnv = "FSRACE_TEST_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		helpers[name](os.Args[1:])
		os.Exit(0)
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// helper returns a command that plays a part. Its stderr goes to the test's log.
func helper(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	if helpers[name] == nil {
		t.Fatalf("no helper %q", name)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name, "GORACE=atexit_sleep_ms=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	t.Cleanup(func() {
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("helper %s: %s", name, stderr.Bytes())
		}
	})
	return cmd
}

// fatal ends a helper.
func fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

// eachFS runs test in a fresh directory on the disk, and on tmpfs if there is one.
func eachFS(t *testing.T, test func(t *testing.T, dir string)) {
	t.Helper()
	t.Run("fs=disk", func(t *testing.T) { t.Parallel(); test(t, t.TempDir()) })
	t.Run("fs=tmpfs", func(t *testing.T) { t.Parallel(); test(t, tmpfs(t)) })
}

func tmpfs(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "fsrace-"+strings.ReplaceAll(filepath.Base(t.Name()), "=", "-"))
	if err != nil {
		t.Skip("no tmpfs at /dev/shm")
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// list returns what is in dir, hidden files too.
func list(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
