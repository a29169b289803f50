// SPDX-License-Identifier: MIT

package sockowner

import (
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(fdguardtest.Main(m)) }
