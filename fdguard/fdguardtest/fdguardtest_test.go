// SPDX-License-Identifier: MIT

package fdguardtest_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

func tempFile(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verify runs VerifyNone and returns what it would have failed the test with.
func verify(name string, options ...fdguardtest.Option) string {
	r := &recorder{name: name}
	fdguardtest.VerifyNone(r, append([]fdguardtest.Option{fdguardtest.Settle(0)}, options...)...)
	return strings.Join(r.errors, "\n")
}

// The tests of this file are not parallel: they look at descriptors of the process.

func TestNothingOpenPasses(t *testing.T) {
	f, err := fdguard.Open(tempFile(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := verify(t.Name()); got != "" {
		t.Errorf("without a leak: %s", got)
	}
}

func TestGuardedLeakIsNamedWithItsStack(t *testing.T) {
	f, err := fdguard.Open(tempFile(t, "guarded-leak"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := verify(t.Name())
	for _, want := range []string{"guarded-leak", "TestGuardedLeakIsNamedWithItsStack", "fdguardtest_test.go:"} {
		if !strings.Contains(got, want) {
			t.Errorf("report lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "unguarded") {
		t.Errorf("a guarded descriptor is reported as unguarded too:\n%s", got)
	}
}

func TestEachHolderIsReported(t *testing.T) {
	f, err := fdguard.Open(tempFile(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	clone, err := f.Clone()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := verify(t.Name()); got == "" {
		t.Error("a clone that is open after its root was closed: no report")
	}
	clone.Close()
	if got := verify(t.Name()); got != "" {
		t.Errorf("after the last Close: %s", got)
	}
}

func TestUnguardedLeakIsNamed(t *testing.T) {
	f, err := os.Open(tempFile(t, "raw-leak"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := verify(t.Name())
	if !strings.Contains(got, "unguarded") || runtime.GOOS == "linux" && !strings.Contains(got, "raw-leak") {
		t.Errorf("report does not name the descriptor:\n%s", got)
	}
}

func TestUnguardedPipeIsALeak(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if got := verify(t.Name()); strings.Count(got, "pipe") != 2 {
		t.Errorf("a pipe has two ends; report:\n%s", got)
	}
}

func TestIgnoreCurrentIsTakenWhenCalled(t *testing.T) {
	path := tempFile(t, "a")
	raw, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	guarded, err := fdguard.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Close()
	current := fdguardtest.IgnoreCurrent()
	if got := verify(t.Name(), current); got != "" {
		t.Errorf("what was open when IgnoreCurrent was called: %s", got)
	}
	later, err := fdguard.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	if got := verify(t.Name(), current); strings.Count(got, "guarded ") != 1 {
		t.Errorf("one handle is newer than IgnoreCurrent; report:\n%s", got)
	}
}

func TestReusedNumberIsNew(t *testing.T) {
	before, err := os.Open(tempFile(t, "before"))
	if err != nil {
		t.Fatal(err)
	}
	number := before.Fd()
	current := fdguardtest.IgnoreCurrent()
	before.Close()
	after, err := os.Open(tempFile(t, "after"))
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if after.Fd() != number {
		t.Skip("the number was not reused")
	}
	if got := verify(t.Name(), current); got == "" {
		t.Error("a leak on a number that was open before was not reported")
	}
}

func TestIgnoreName(t *testing.T) {
	f, err := fdguard.Open(tempFile(t, "leak.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for pattern, ignored := range map[string]bool{
		f.Name():                            true,
		"leak.db":                           true,
		"*.db":                              true,
		filepath.Dir(f.Name()) + "/*":       true,
		"*.txt":                             false,
		"other/leak.db":                     false,
		strings.TrimSuffix(f.Name(), ".db"): false,
	} {
		if got := verify(t.Name(), fdguardtest.IgnoreName(pattern)); (got == "") != ignored {
			t.Errorf("IgnoreName(%q): ignored = %v, want %v", pattern, got == "", ignored)
		}
	}
}

func TestIgnoreNamePanicsOnMalformedPattern(t *testing.T) {
	defer func() {
		if r, _ := recover().(string); !strings.Contains(r, "IgnoreName") {
			t.Errorf("recovered %q, want a message that names IgnoreName", r)
		}
	}()
	fdguardtest.IgnoreName("[")
}

func TestSettleWaitsForTheLateClose(t *testing.T) {
	f, err := os.Open(tempFile(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		go func() {
			time.Sleep(time.Second)
			f.Close()
		}()
		if got := verify(t.Name(), fdguardtest.Settle(2*time.Second)); got != "" {
			t.Errorf("closed within Settle, but reported: %s", got)
		}
	})
}

func TestSettleEnds(t *testing.T) {
	f, err := os.Open(tempFile(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		got := verify(t.Name(), fdguardtest.Settle(2*time.Second))
		if waited := time.Since(start); got == "" || waited < 2*time.Second || waited > 3*time.Second {
			t.Errorf("waited %v of 2 s and reported %q", waited, got)
		}
	})
}

func TestFindReturnsLeakError(t *testing.T) {
	guarded, err := fdguard.Open(tempFile(t, "guarded"))
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Close()
	raw, err := os.Open(tempFile(t, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	err = fdguardtest.Find(fdguardtest.Settle(0))
	leak, ok := errors.AsType[*fdguardtest.LeakError](err)
	if !ok {
		t.Fatalf("Find = %v, want a *LeakError", err)
	}
	if len(leak.Guarded) != 1 || leak.Guarded[0].Name != guarded.Name() {
		t.Errorf("Guarded = %v, want %s", leak.Guarded, guarded.Name())
	}
	if runtime.GOOS != "windows" && (len(leak.Unguarded) != 1 || leak.Unguarded[0].FD != int(raw.Fd())) {
		t.Errorf("Unguarded = %v, want fd %d", leak.Unguarded, raw.Fd())
	}
}

func TestCleanupIsCalledByVerifyNone(t *testing.T) {
	called := -1
	verify(t.Name(), fdguardtest.Cleanup(func(code int) { called = code }))
	if called != 0 {
		t.Errorf("Cleanup called with %d, want 0", called)
	}
}

// G28: a handle that another test has left open is that test's, also when it has ended.
func TestAnotherTestsHandleIsNotBlamed(t *testing.T) {
	f, err := fdguard.Open(tempFile(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := verify("TestSomethingElse/sub"); got != "" {
		t.Errorf("blamed on another test: %s", got)
	}
	if got := verify(t.Name() + "/sub"); got == "" {
		t.Error("not blamed on this one")
	}
}
