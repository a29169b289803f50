// SPDX-License-Identifier: MIT

package fdguard

import (
	"runtime"
	"testing"
)

// G37: the table works on every system, and the report says what this one lacks.
func TestReportOnThisPlatform(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Paranoid)
	f := mustOpen(t, r, "hello")
	c := mustClone(t, f)
	wantRead(t, f, "hello")
	wantRead(t, c, "hello")
	rep := r.snapshot()
	if rep.Tracked != 2 || rep.Files != 1 || len(rep.ByName) != 1 || rep.ByName[0].Name != f.Name() {
		t.Errorf("%+v", rep)
	}
	for what, known := range map[string]struct{ is, want bool }{
		"limit":       {rep.Soft >= 0 && rep.Hard >= rep.Soft, hasLimit},
		"descriptors": {rep.ProcessOpen >= 3, runtime.GOOS == "linux" || rep.ProcessOpen >= 0},
		"headroom":    {rep.Headroom >= 0, rep.Soft >= 0 && rep.ProcessOpen >= 0},
	} {
		if known.is != known.want {
			t.Errorf("%s known: %v, want %v: %+v", what, known.is, known.want, rep)
		}
	}
	if !hasLimit && (rep.Soft != -1 || rep.Hard != -1 || rep.Headroom != -1) {
		t.Errorf("unknown and not -1: %+v", rep)
	}
	f.Close()
	c.Close()
	noLeak(t, leaks)
}
