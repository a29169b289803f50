// SPDX-License-Identifier: MIT

// Package fdguardtest fails a test that leaves descriptors open.
//
// It is goleak for descriptors. Put one line at the top of a test,
//
//	defer fdguardtest.VerifyNone(t, fdguardtest.IgnoreCurrent())
//
// or one in TestMain, which judges the whole package once, after all tests:
//
//	func TestMain(m *testing.M) { fdguardtest.VerifyTestMain(m) }
//
// and, to look for goroutines as well:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(fdguardtest.Main(m)) }
//
// # Guarantees
//
//   - Handles of package fdguard are read from its table, never from what the
//     garbage collector has or has not done. One that was dropped and closed only
//     by the safety net is a leak too. Each is named, with the stack that opened it.
//   - All other descriptors are found by difference: what is open now and was not
//     before. A number that was closed and reused counts as new.
//   - What the runtime and the standard library keep for themselves is no leak: the
//     poller's descriptors, pipes pooled for splice(2), the testing package's own
//     files. Idle connections of [net/http.DefaultTransport] are closed before a
//     socket is judged.
//   - In parallel tests a handle is blamed on the test whose function is on the stack
//     that opened it, and on no other.
//
// # What it does not do
//
// An unguarded descriptor, and a handle opened on a goroutine that no test function
// is on the stack of, cannot be attributed. While other tests are running they are
// logged, not blamed; [VerifyTestMain] judges them when all tests are done. To know
// who opened an unguarded descriptor, open it through fdguard.
//
// A descriptor that was open before and is closed by the test is not reported.
// Subtests of one function cannot be told apart.
//
// # Platforms
//
// Unguarded descriptors are named as /proc/self/fd does on Linux, and by type on
// other Unix systems. On Windows only guarded handles are seen.
package fdguardtest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// TestingT is the part of [testing.TB] that [VerifyNone] needs. It also uses Helper,
// Log and Name where t has them.
type TestingT interface {
	Error(args ...any)
}

// TestingM is the part of [testing.M] that [VerifyTestMain] needs.
type TestingM interface {
	Run() int
}

// VerifyNone marks the test as failed if descriptors are open that were not open
// when the process started, or, with [IgnoreCurrent], when the option was made. It
// waits up to [Settle] for those that other goroutines are about to close.
//
// Defer it at the top of the test, so that it runs after the test's own defers; what
// t.Cleanup closes is closed later still, so a test that relies on it registers the
// check there, first:
//
//	current := fdguardtest.IgnoreCurrent()
//	t.Cleanup(func() { fdguardtest.VerifyNone(t, current) })
func VerifyNone(t TestingT, options ...Option) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	cfg := newConfig(options)
	if n, ok := t.(interface{ Name() string }); ok {
		cfg.test, _, _ = strings.Cut(n.Name(), "/")
	}
	leaks, unsure := cfg.settled()
	if !unsure.empty() {
		if l, ok := t.(interface{ Log(args ...any) }); ok {
			l.Log("other tests are running; not blamed on this one: " + unsure.Error())
		}
	}
	if !leaks.empty() {
		t.Error(leaks)
	}
	if cfg.cleanup != nil {
		cfg.cleanup(0)
	}
}

// VerifyTestMain runs the tests and ends the process with their exit code, or with 1
// if they passed but left descriptors open that were not open before. It reports
// them on standard error.
func VerifyTestMain(m TestingM, options ...Option) {
	exit := newConfig(options).cleanup
	if exit == nil {
		exit = os.Exit
	}
	exit(Main(m, options...).Run())
}

// Main returns a TestingM whose Run runs m and then checks as [VerifyTestMain] does,
// but returns the exit code. It is for a TestMain that has more to verify.
func Main(m TestingM, options ...Option) TestingM {
	return testMain{m, options, os.Stderr}
}

type testMain struct {
	m       TestingM
	options []Option
	stderr  io.Writer
}

func (tm testMain) Run() int {
	before := IgnoreCurrent()
	code := tm.m.Run()
	if code != 0 {
		return code
	}
	if err := Find(append([]Option{before}, tm.options...)...); err != nil {
		fmt.Fprintf(tm.stderr, "fdguardtest: after a successful test run: %v\n", err)
		return 1
	}
	return 0
}

// Find returns a [*LeakError] if [VerifyNone] would fail a test, and nil otherwise.
// It blames nobody, so it also reports what tests running beside it have open.
func Find(options ...Option) error {
	leaks, _ := newConfig(options).settled()
	if leaks.empty() {
		return nil
	}
	return leaks
}

// settled looks until nothing is open or the time is up. Descriptors being closed
// by other goroutines are the rule, not the exception: a server's connections end
// after its client has returned.
func (c *config) settled() (leaks, unsure *LeakError) {
	deadline := time.Now().Add(c.settle)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		leaks, unsure = c.look()
		if leaks.empty() && unsure.empty() || !time.Now().Before(deadline) {
			return leaks, unsure
		}
		http.DefaultClient.CloseIdleConnections()
		time.Sleep(pause)
	}
}
