// SPDX-License-Identifier: MIT

package relay

import (
	"errors"
	"testing"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	incident.Dispatch(Incident)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func tell(t *testing.T, step incident.Step) incident.Evidence {
	t.Helper()
	e, err := step(t.Context(), t.Logf)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if t.Log(e.Summary, e.Facts); !e.Confirmed || len(e.Summary) > 72 {
		t.Errorf("%+v", e)
	}
	return e
}

func TestNaiveIsReset(t *testing.T) {
	t.Parallel()
	tell(t, Incident.Naive)
}

func TestFixedLosesNothing(t *testing.T) {
	t.Parallel()
	e := tell(t, Incident.Fixed)
	if e.Facts["connections"] != 3 {
		t.Errorf("%v connections", e.Facts["connections"])
	}
}
