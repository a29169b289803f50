// SPDX-License-Identifier: MIT

package spool

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// TestCallsOfAJob: the protocol is made of renames, of which each step of a job has
// one; nothing is linked, locked or made exclusively but in tmp. G26, G29
func TestCallsOfAJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var calls []string
	s := w.open(t, Config{}).through(systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
		part, _, _ := strings.Cut(strings.TrimPrefix(c.Path, worldDir+"/"), "/")
		if c.To != "" {
			to, _, _ := strings.Cut(strings.TrimPrefix(c.To, worldDir+"/"), "/")
			part += " " + to
		}
		calls = append(calls, c.Op+" "+part)
		return do()
	}))
	var c *Claim
	for _, step := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"put", func() error { return s.Put("a", strings.NewReader("x")) },
			[]string{"open tmp", "write tmp", "sync tmp", "close tmp", "rename tmp new", "syncdir new"}},
		{"claim", func() (err error) { c, err = s.TryClaim(); return err },
			[]string{"open new", "close new", "readdir new", "rename new claimed"}},
		{"release", func() error { return c.Release() }, []string{"rename claimed new"}},
		{"claim from what was read", func() (err error) {
			must(t, s.Put("b", strings.NewReader("x")))
			must(t, s.Put("c", strings.NewReader("x")))
			must(t, claim(t, s).Release())
			calls = nil
			c, err = s.TryClaim()
			return err
		}, []string{"rename new claimed"}},
		{"done", func() error { return c.Done() }, []string{"rename claimed done"}},
	} {
		calls = nil
		must(t, step.do())
		if diff := cmp.Diff(step.want, calls); diff != "" {
			t.Errorf("calls of %s (-want +got):\n%s", step.name, diff)
		}
	}
}
