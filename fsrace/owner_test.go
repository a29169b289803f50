// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestSelf(t *testing.T) {
	t.Parallel()
	a, b := Self("worker"), Self("worker")
	if a.Nonce == b.Nonce || a.PID != os.Getpid() || a.Label != "worker" {
		t.Errorf("Self = %v, then %v", a, b)
	}
	if runtime.GOOS == "linux" && (a.BootID == "" || a.PIDNS == "" || a.Start == 0) {
		t.Errorf("Self = %+v", a)
	}
	got, err := ParseOwner(a.String())
	if err != nil || got != a {
		t.Errorf("ParseOwner(%v) = %v, %v", a, got, err)
	}
	if want := map[bool]Liveness{true: Alive, false: Unknown}[runtime.GOOS == "linux"]; a.Liveness() != want {
		t.Errorf("this process is %v", a.Liveness())
	}
}

func TestOwnerIsOneFileName(t *testing.T) {
	t.Parallel()
	o := Owner{Host: "a/b\\c d\n\x00é:*", PID: 1, Label: "x,y=z%\xff", Nonce: "n", Since: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)}
	s := o.String()
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,=~%-", r)
	}) {
		t.Errorf("%q", s)
	}
	if got, err := ParseOwner(s); err != nil || got != o {
		t.Errorf("ParseOwner(%q) = %+v, %v", s, got, err)
	}
	full := Self("")
	full.Host = strings.Repeat("h", 64) // HOST_NAME_MAX
	if n := len(full.String()); n > 255 {
		t.Errorf("a record without a label has %d bytes", n)
	}
}

func TestParseOwnerRefuses(t *testing.T) {
	t.Parallel()
	good := Owner{Host: "h", BootID: "b", PIDNS: "1", PID: 7, Start: 9, Nonce: "n"}.String()
	if _, err := ParseOwner(good); err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]string{
		"empty": "", "junk": "junk", "no pid": "nonce=n", "no nonce": "pid=7", "zero pid": "pid=0,nonce=n",
		"a group": "pid=-1,nonce=n", "a long pid": "pid=2147483648,nonce=n", "a short one twice": "pid=7,pid=7,nonce=n",
		"another order": "nonce=n,pid=7", "a line end": good + "\n", "a leading zero": "pid=07,nonce=n", "a plus": "pid=+7,nonce=n",
		"an unknown field": "pid=7,x=y,nonce=n", "an empty field": "pid=7,boot=,nonce=n", "a bad escape": "pid=7,nonce=%zz",
		"an escape too many": "pid=7,nonce=%6e", "no start": "pid=7,start=0,nonce=n", "a bad time": "pid=7,since=now,nonce=n",
		"cut short": good[:len(good)-8],
	} {
		if o, err := ParseOwner(s); !errors.Is(err, ErrOwner) {
			t.Errorf("%s: ParseOwner(%q) = %+v, %v", what, s, o, err)
		}
	}
}

// G35, G36, G37: what proves death, and what does not.
func TestJudge(t *testing.T) {
	t.Parallel()
	me := identity{boot: "boot", pidns: "ns", start: 5}
	base := Owner{BootID: "boot", PIDNS: "ns", PID: 7, Start: 100}
	with := func(change func(*Owner)) Owner { o := base; change(&o); return o }
	seen := func(s sighting) func(int) sighting { return func(int) sighting { return s } }
	never := func(int) sighting { t.Error("looked"); return sighting{gone: true} }
	for what, tc := range map[string]struct {
		o    Owner
		me   identity
		look func(int) sighting
		want Liveness
	}{
		"the same process":             {base, me, seen(sighting{start: 100}), Alive},
		"no such process":              {base, me, seen(sighting{gone: true}), Dead},
		"its PID in use by another":    {base, me, seen(sighting{start: 101}), Dead},
		"a zombie":                     {base, me, seen(sighting{start: 100, exited: true}), Dead},
		"start cannot be read":         {base, me, seen(sighting{}), Unknown},
		"start was not recorded":       {with(func(o *Owner) { o.Start = 0 }), me, seen(sighting{start: 100}), Unknown},
		"not recorded, but gone":       {with(func(o *Owner) { o.Start = 0 }), me, seen(sighting{gone: true}), Dead},
		"another boot":                 {with(func(o *Owner) { o.BootID = "x" }), me, never, Unknown},
		"another PID namespace":        {with(func(o *Owner) { o.PIDNS = "x" }), me, never, Unknown},
		"no boot id in the record":     {with(func(o *Owner) { o.BootID = "" }), me, never, Unknown},
		"nothing known of ourselves":   {Owner{PID: 7}, identity{}, never, Unknown},
		"a process group":              {with(func(o *Owner) { o.PID = 0 }), me, never, Unknown},
		"all processes":                {with(func(o *Owner) { o.PID = -1 }), me, never, Unknown},
		"another host of another name": {with(func(o *Owner) { o.Host = "renamed" }), me, seen(sighting{start: 100}), Alive},
	} {
		if got := judge(tc.o, tc.me, tc.look); got != tc.want {
			t.Errorf("%s: %v, want %v", what, got, tc.want)
		}
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add(Self("label").String())
	f.Add("pid=7,nonce=n")
	f.Add("label=%00%2C,host=h,pid=2147483647,start=18446744073709551615,boot=b,ns=1,since=20260102T030405.000006Z,nonce=n")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOwner(s)
		if err != nil {
			if !errors.Is(err, ErrOwner) {
				t.Errorf("ParseOwner(%q) = %v", s, err)
			}
			return
		}
		if o.String() != s || o.PID <= 0 || o.Nonce == "" || strings.ContainsAny(s, "/\x00\n\\: ") {
			t.Errorf("ParseOwner(%q) = %+v", s, o)
		}
		o.Liveness()
	})
}

// FuzzOwner: every owner is read back as it was, to the microsecond.
func FuzzOwner(f *testing.F) {
	f.Add("label", "host", "boot", "ns", "nonce", int32(1), uint64(2), int64(3))
	f.Fuzz(func(t *testing.T, label, host, boot, ns, nonce string, pid int32, start uint64, micros int64) {
		o := Owner{Label: label, Host: host, BootID: boot, PIDNS: ns, Nonce: nonce, PID: int(pid), Start: start}
		if t := time.UnixMicro(micros).UTC(); t.Year() >= 1 && t.Year() <= 9999 && !t.IsZero() {
			o.Since = t
		}
		got, err := ParseOwner(o.String())
		if valid := pid > 0 && nonce != ""; valid != (err == nil) || valid && got != o {
			t.Errorf("ParseOwner(%v) = %+v, %v; want %+v", o, got, err, o)
		}
	})
}
