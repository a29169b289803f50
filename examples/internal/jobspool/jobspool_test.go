// SPDX-License-Identifier: MIT

package jobspool

import (
	"bytes"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/fsrace/spool"
)

func TestMain(m *testing.M) {
	incident.Dispatch(Incident)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func TestNaiveLosesJobs(t *testing.T) {
	t.Parallel()
	e, err := Incident.Naive(t.Context(), t.Logf)
	if err != nil || !e.Confirmed {
		t.Fatalf("%+v, %v", e, err)
	}
	t.Log(e.Summary)
}

func TestFixedAccountsForEveryJob(t *testing.T) {
	t.Parallel()
	e, err := Incident.Fixed(t.Context(), t.Logf)
	if err != nil || !e.Confirmed {
		t.Fatalf("%+v, %v", e, err)
	}
	if len(e.Summary) > 72 || len(Incident.Title) > 60 {
		t.Errorf("too long: %q, %q", e.Summary, Incident.Title)
	}
	t.Log(e.Summary, e.Facts)
}

func TestMessages(t *testing.T) {
	t.Parallel()
	want := Message{ID: 4711, Program: "a <b> & \"c\""}
	var wire bytes.Buffer
	if err := want.writeTo(&wire); err != nil {
		t.Fatal(err)
	}
	got, err := readMessage(&wire)
	if err != nil || got != want {
		t.Errorf("%+v came back as %+v, %v", want, got, err)
	}
	data, err := want.xml()
	if err != nil {
		t.Fatal(err)
	}
	got = Message{}
	if err := xml.Unmarshal(data, &got); err != nil || got.ID != want.ID || got.Program != want.Program {
		t.Errorf("%s came back as %+v, %v", data, got, err)
	}
	if _, err := readMessage(strings.NewReader("\x00\x00\x00\x01\x00\x05abc")); err == nil {
		t.Error("half a message was read")
	}
}

func TestStatusNamesTheHolder(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, stage := range []string{"xml", "json"} {
		cron, err := spool.Open(filepath.Join(base, stage), config("cron with "+stage))
		if err != nil {
			t.Fatal(err)
		}
		if err := cron.Put("msg-000000."+stage, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		c, err := cron.TryClaim()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Done(), cron.Close()); err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open(filepath.Join(base, stage), config(stage+" worker"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Put("msg-000001."+stage, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.TryClaim(); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{base, filepath.Join(base, "xml")} {
		var out strings.Builder
		if err := Status(&out, dir); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"0 new, 1 claimed", "1 instances", "xml worker", "msg-000001.xml", "claimed", "cron with xml", "ended"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("status of %s lacks %q:\n%s", dir, want, &out)
			}
		}
	}
	// Nobody here has been of another boot, and those of this one keep what they hold.
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Evict(&out, base, host); err != nil || strings.Count(out.String(), "took back 0 jobs from "+host) != 2 {
		t.Errorf("Evict: %v, %s", err, &out)
	}
	if err := Status(&strings.Builder{}, os.DevNull); err == nil {
		t.Error("the status of no spool is no error")
	}
}
