// SPDX-License-Identifier: MIT

package identd

import (
	"fmt"
	"os"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

// helpers are the processes that tests start besides this one: this executable again,
// with the variable set to what it is to do.
var helpers = make(map[string]func(arg string) error)

func TestMain(m *testing.M) {
	incident.Dispatch(Incident)
	for name, help := range helpers {
		if arg := os.Getenv(name); arg != "" {
			if err := help(arg); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}
