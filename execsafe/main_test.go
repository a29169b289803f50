// SPDX-License-Identifier: MIT

package execsafe

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

// slack is what a bound may be exceeded by on a busy machine. It catches hangs.
const slack = 10 * time.Second

const doEnv = "EXECSAFE_TEST_DO"

// TestMain plays a child if the binary was started by [do]: see perform.
func TestMain(m *testing.M) {
	if os.Getenv(doEnv) != "" {
		os.Exit(perform(os.Args[1:]))
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// do returns a command that performs the given steps in a new process.
func do(t testing.TB, steps ...string) *exec.Cmd {
	t.Helper()
	return doThis(steps...)
}

func doThis(steps ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe, steps...)
	cmd.Env = append(os.Environ(), doEnv+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// within fails the test if f takes longer than d and slack.
func within(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d+slack {
		t.Errorf("took %v, want at most %v", took, d)
	}
}

// pattern returns n bytes that show where they belong.
func pattern(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString("0123456789abcde\n"[i%7:])
	}
	return b.String()[:n]
}

func mustRun(t *testing.T, r Runner, cmd *exec.Cmd) *Result {
	t.Helper()
	res, err := r.Run(t.Context(), cmd)
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args[1:], err)
	}
	return res
}
