// SPDX-License-Identifier: MIT

package fdguard_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/fdguard"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

// TestMain is in the external test package, which may import fdguardtest. It judges
// the internal tests as well: they are in the same binary.
func TestMain(m *testing.M) {
	fdguard.PlayRole()
	goleak.VerifyTestMain(fdguardtest.Main(m))
}
