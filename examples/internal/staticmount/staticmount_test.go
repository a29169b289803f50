// SPDX-License-Identifier: MIT

package staticmount

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/fdguard"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

func TestMain(m *testing.M) {
	incident.Dispatch(Incident)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func TestIncident(t *testing.T) {
	for name, step := range map[string]incident.Step{"naive": Incident.Naive, "fixed": Incident.Fixed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			evidence, err := step(t.Context(), t.Logf)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v: %s %v", time.Since(start), evidence.Summary, evidence.Facts)
			if !evidence.Confirmed || len([]rune(evidence.Summary)) > 72 {
				t.Errorf("evidence: %+v", evidence)
			}
		})
	}
}

func TestIncidentStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Incident.Naive(ctx, t.Logf); err == nil {
		t.Error("a cancelled step succeeded")
	}
}

// Two references for two wraps, and one close: the story in three lines.
func TestNaiveCountingKeepsOne(t *testing.T) {
	for name, tc := range map[string]struct {
		cast     cast
		wantOpen bool
	}{
		"naive": {new(counter).wrap, true},
		"fixed": {guard, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := fdguard.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			once, err := tc.cast(f)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := tc.cast(once)
			if err != nil {
				t.Fatal(err)
			}
			twice.Close()
			if _, err := f.Stat(); (err == nil) != tc.wantOpen {
				t.Errorf("after wrap, wrap, close: Stat = %v", err)
			}
		})
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	db, err := StartDatabase()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- Serve(ctx, l, "fixed", ".", db.Addr().String()) }()
	c := newClient("http://" + l.Addr().String())
	if body, err := c.get(ctx, "/report"); err != nil || body != "42 rows\n" {
		t.Errorf("/report: %q, %v", body, err)
	}
	if _, err := c.get(ctx, "/debug/fdguard"); err != nil {
		t.Error(err)
	}
	if _, err := c.get(ctx, "/static/none"); err == nil {
		t.Error("a file that is not there was served")
	}
	c.http.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if err := Serve(ctx, l, "other", ".", ""); err == nil {
		t.Error("an unknown way to wrap was accepted")
	}
}
