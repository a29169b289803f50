// SPDX-License-Identifier: MIT

package execsafe

import (
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

// roles are what this binary plays as a child: the value of the environment
// variable below names one, the arguments are its own.
var roles = map[string]func(args []string) int{}

const roleEnv = "EXECSAFE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv(roleEnv); ok {
		os.Unsetenv(roleEnv)
		os.Exit(roles[role](os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// role returns a command that plays a role in a new process.
func role(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	if roles[name] == nil {
		t.Fatalf("no role %q", name)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+name)
	return cmd
}
