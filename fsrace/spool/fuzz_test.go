// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
)

func FuzzFileNames(f *testing.F) {
	f.Add("a~0123456789abcdef~0~0~0123456789abcdef~0")
	f.Add("a~b~0123456789abcdef~12~2147483647~0123456789abcdef~ffff")
	f.Add("~0123456789abcdef~00~0~0123456789abcdef~0")
	f.Fuzz(func(t *testing.T, base string) {
		if job, ok := parseFile(base); ok && job.String() != base {
			t.Errorf("%q reads as %+v, which is written %q", base, job, job)
		}
		// Any name that may be put comes back, and its file names fit.
		if checkName(base) != nil {
			return
		}
		job := file{base, newID(), 2147483647, 2147483647, newID(), 1<<64 - 1}
		if got, ok := parseFile(job.String()); !ok || got != job {
			t.Errorf("%+v is written %q, which reads as %+v", job, job, got)
		}
		if n := len(job.String() + reasonSuffix); n > 255 {
			t.Errorf("%q needs %d bytes", base, n)
		}
	})
}

func FuzzJobNames(f *testing.F) {
	for _, name := range []string{"a", "", ".", "..", "a/b", "a\x00", "\xff", "~", "new", strings.Repeat("x", 256)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		w := newWorld(t)
		s := w.open(t, Config{})
		err := s.Put(name, strings.NewReader("content of "+name))
		_, bad := errors.AsType[*NameError](err)
		if bad {
			if n := len(w.disk.Files()); n != 2 { // format and the worker's record
				t.Errorf("%q was refused, and there are %d files", name, n)
			}
			return
		}
		must(t, err)
		c := claim(t, s)
		if c.Name() != name {
			t.Errorf("put %q, claimed %q", name, c.Name())
		}
		must(t, c.Done())
		must(t, once(w.disk, name))
	})
}

func FuzzRecords(f *testing.F) {
	f.Add("sysprim spool worker 1\nowner pid=1,nonce=x\nlease 1m0s\nbeat 1\n")
	f.Add("sysprim spool worker 1\nowner pid=0,nonce=x\nlease -1s\nbeat 18446744073709551616\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(text)
		if (err == nil) == errors.Is(err, errRecord) {
			t.Errorf("%q: %v is no errRecord", text, err)
		}
		if err == nil && (r.owner.PID <= 0 || r.owner.Nonce == "" || r.lease < 0 || r.text != text) {
			t.Errorf("%q reads as %+v", text, r)
		}
	})
}

// FuzzJunk fills a spool with arbitrary files in arbitrary places: one job must go
// through it all the same, and nothing may be lost. A line of the input is a part,
// a kind and a name.
func FuzzJunk(f *testing.F) {
	f.Add("new f a\nnew f .hid\nnew d dir\nclaimed f x\nclaimed f x~0123456789abcdef~0~0~0123456789abcdef~0\nfailed f x.reason")
	f.Add("workers f 0123456789abcdef\nworkers d 0123456789abcdee\nretired l x\ntmp f a~b~c\ntmp f x~0123456789abcdef~1\nnew l link")
	f.Add("new f x~0123456789abcdef~2147483647~2147483647~0123456789abcdef~ffffffffffffffff\nfailed d x~0123456789abcdef~1~1~0123456789abcdef~1.reason")
	f.Fuzz(func(t *testing.T, junk string) {
		w := newWorld(t)
		s := w.open(t, Config{})
		marks := map[string]bool{}
		for i, line := range strings.Split(junk, "\n") {
			fields := strings.SplitN(line, " ", 3)
			if len(fields) != 3 || strings.ContainsAny(fields[2], "/\x00") || fields[2] == "" || fields[2] == "." || fields[2] == ".." {
				continue
			}
			name := path.Join(worldDir, fields[0], fields[2])
			switch fields[1] {
			case "d":
				w.disk.Mkdir(name, 0o755)
			case "l":
				w.disk.Symlink("/spool/format", name)
			case "f":
				if h, err := w.disk.Open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
					mark := fmt.Sprint("junk ", i)
					h.Write([]byte(mark))
					h.Close()
					marks[mark] = true
				}
			}
		}
		put(t, s, "the job")
		done := false
		for range 3 {
			s.Reclaim()
			for range 100 {
				c, err := s.TryClaim()
				if err != nil {
					break
				}
				if c.Name() == "the job" {
					done = true
				}
				must(t, c.Done())
			}
		}
		if !done {
			t.Error("the job was not found among the junk")
		}
		s.Workers()
		if _, err := s.Entries(); err != nil {
			t.Errorf("Entries: %v", err)
		}
		s.Prune(1 << 62)
		must(t, s.Close())
		for _, data := range w.disk.Files() {
			delete(marks, data)
		}
		if len(marks) > 0 {
			t.Errorf("lost: %v", marks)
		}
	})
}
