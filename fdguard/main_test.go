// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const roleEnv = "FDGUARD_TEST_ROLE"

// roles are what the test binary does instead of testing, in a process of its own.
var roles = map[string]func() error{}

// PlayRole ends the process after the role it was started for; if it was started
// to test, PlayRole returns.
func PlayRole() {
	role := roles[os.Getenv(roleEnv)]
	if role == nil {
		return
	}
	if err := role(); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// runRole runs a role and fails the test if it fails.
func runRole(t *testing.T, role string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), roleEnv+"="+role), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("role %s: %v\n%s", role, err, out)
	}
	return string(out)
}

// newRegistry is one that a test has to itself; what it reports goes to leaks.
func newRegistry(t testing.TB, level Level) (*registry, chan Leak) {
	t.Helper()
	r := &registry{sys: realSys}
	r.lvl.Store(int32(level))
	leaks := make(chan Leak, 4096)
	fn := func(l Leak) { leaks <- l }
	r.onLeak.Store(&fn)
	return r, leaks
}

func tableHandles(r *registry) int { handles, _ := r.table.count(); return handles }
func tableFiles(r *registry) int   { _, files := r.table.count(); return files }

func writeTemp(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func mustOpen(t testing.TB, r *registry, content string) *File {
	t.Helper()
	f, err := r.open(writeTemp(t, content), os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mustClone(t testing.TB, f *File) *File {
	t.Helper()
	g, err := f.Clone()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func wantClosed(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%s: %v, want fs.ErrClosed", what, err)
	}
}

func wantRead(t testing.TB, r io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(r); err != nil || string(got) != want {
		t.Errorf("read %.40q, %v, want %.40q", got, err, want)
	}
}

// noLeak fails if something was reported.
func noLeak(t testing.TB, leaks chan Leak) {
	t.Helper()
	select {
	case l := <-leaks:
		t.Errorf("unexpected report: %+v", l)
	default:
	}
}
