// SPDX-License-Identifier: MIT

package fdguardtest_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

const helperEnv = "FDGUARDTEST_HELPER"

// helpers are what this binary does instead of the tests when it is started by one
// of them. Each gets the tests to run with -test.run.
var helpers = map[string]func(m *testing.M){
	"main":  func(m *testing.M) { fdguardtest.VerifyTestMain(m) },
	"both":  func(m *testing.M) { goleak.VerifyTestMain(fdguardtest.Main(m)) },
	"plain": func(m *testing.M) { os.Exit(m.Run()) },
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		helpers[name](m)
		panic("helper " + name + " returned")
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// helperOnly skips a test that is the body of a helper process.
func helperOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(helperEnv) == "" {
		t.Skip("run by another test, in a process of its own")
	}
}

// runHelper runs the tests that match pattern in a new process and returns what it
// printed, and its exit code.
func runHelper(t *testing.T, helper, pattern string, flags ...string) (output string, code int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-test.run=" + pattern, "-test.v", "-test.timeout=60s"}, flags...)...)
	cmd.Env = append(os.Environ(), helperEnv+"="+helper)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "=== RUN") {
		t.Fatalf("%s ran no test:\n%s", pattern, out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// A recorder is a TestingT that records instead of failing.
type recorder struct {
	name         string
	errors, logs []string
}

func (r *recorder) Name() string      { return r.name }
func (r *recorder) Error(args ...any) { r.errors = append(r.errors, fmt.Sprint(args...)) }
func (r *recorder) Log(args ...any)   { r.logs = append(r.logs, fmt.Sprint(args...)) }
