// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// FuzzModel runs a sequence of operations against the obvious model: each name has a
// history of versions, an Open may find any version that was current within Valid, and
// a handle reads what it found, whatever happens later.
func FuzzModel(f *testing.F) {
	f.Add([]byte("ooRoTTTTo"), uint8(1), uint8(0))
	f.Add([]byte("oOpPqQDdTToOTTTTTTTTTrcccccR"), uint8(2), uint8(1))
	f.Add([]byte("opqopqopqRSUTTTTToopqcccccccccxTT"), uint8(2), uint8(3))
	f.Fuzz(func(t *testing.T, ops []byte, max, minUses uint8) {
		if len(ops) > 200 {
			t.Skip()
		}
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			model(t, dir, ops, Config{
				Max: 1 + int(max%4), MinUses: int(minUses % 4), Valid: 2 * time.Second, Inactive: 5 * time.Second, Reserve: -1,
			})
		})
		wantOpen(t, dir, 0)
	})
}

type version struct {
	since time.Time
	text  string // "": no file
}

func model(t *testing.T, dir string, ops []byte, cfg Config) {
	c := open(t, dir, cfg)
	defer c.Close()
	history := make(map[string][]version)
	type handle struct {
		f    *fdguard.File
		text string
	}
	var handles []handle
	set := func(name, text string) { history[name] = append(history[name], version{time.Now(), text}) }
	allowed := func(name, text string) bool {
		versions := history[name]
		for i, v := range versions {
			current := i == len(versions)-1 || time.Since(versions[i+1].since) < cfg.Valid
			if v.text == text && current {
				return true
			}
		}
		return text == "" && (len(versions) == 0 || time.Since(versions[0].since) < cfg.Valid)
	}
	for i, op := range ops {
		at := fmt.Sprintf("op %d of %q", i, ops)
		name := string('a' + op%3)
		path := filepath.Join(dir, name)
		switch {
		case op == 'T':
			time.Sleep(time.Second)
		case op == 'c' && len(handles) > 0: // the oldest
			h := handles[0]
			handles = handles[1:]
			if b, err := io.ReadAll(h.f); err != nil || string(b) != h.text {
				t.Fatalf("%s: a handle on %q reads %q, %v", at, h.text, b, err)
			}
			h.f.Close()
			h.f.Close()
		case op >= 'o' && op <= 'z':
			f, err := c.Open(name)
			text := ""
			if err == nil {
				var b []byte
				b, err = io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
				text = string(b)
				handles = append(handles, handle{f, text})
			} else if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			if err != nil || !allowed(name, text) {
				t.Fatalf("%s: %s is %q, %v; history %v", at, name, text, err, history[name])
			}
		case op >= 'R' && op < 'T' || op == 'U':
			text := fmt.Sprintf("%s, version %d", name, i)
			replace(t, path, text)
			set(name, text)
		case op >= 'D' && op <= 'F':
			os.Remove(path)
			set(name, "")
		}
		if s := c.Stats(); s.Kept > cfg.Max {
			t.Fatalf("%s: %d kept of %d", at, s.Kept, cfg.Max)
		}
	}
	time.Sleep(cfg.Inactive)
	synctest.Wait()
	if s := c.Stats(); s.Kept != 0 || c.timer != nil || len(c.entries) != 0 || len(c.flights) != 0 {
		t.Fatalf("after Inactive of %q: %+v, timer %v, %d names", ops, s, c.timer != nil, len(c.entries))
	}
	for _, h := range handles {
		if b, err := io.ReadAll(h.f); err != nil || string(b) != h.text {
			t.Fatalf("%q: a handle on %q reads %q, %v", ops, h.text, b, err)
		}
		h.f.Close()
	}
}
