// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

func TestJobNames(t *testing.T) { // G40
	t.Parallel()
	s := start(t, t.TempDir(), Config{})
	for _, name := range []string{
		"a", "a.xml", "with space", "ü", "a~b", "~", "x~0123456789abcdef~0~0~0123456789abcdef~0", "-rf", "$(reboot)", "new",
		"x.reason", strings.Repeat("n", MaxName),
	} {
		put(t, s, name)
		c := claim(t, s)
		if c.Name() != name || content(t, c) != "content of "+name {
			t.Errorf("put %q, claimed %q", name, c.Name())
		}
		must(t, c.Fail("why")) // the longest file names there are
	}
	for name, reason := range map[string]string{
		"": "empty", strings.Repeat("n", MaxName+1): "bytes", ".hidden": "hidden", "..": "hidden", "a/b": "separator",
		`a\b`: "separator", "/etc/passwd": "separator", "a\x00b": "control", "a\nb": "control", "a\xffb": "UTF-8",
	} {
		err := s.Put(name, strings.NewReader(""))
		ne, ok := errors.AsType[*NameError](err)
		if !ok || ne.Name != name || !strings.Contains(ne.Reason, reason) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Put(%.20q) = %v, want a NameError: %s", name, err, reason)
		}
	}
	if n := files(t, s, tmpPart) + files(t, s, newPart); n != 0 {
		t.Errorf("%d files stayed behind", n)
	}
}

type failingReader struct{}

var errReader = errors.New("line cut")

func (failingReader) Read(p []byte) (int, error) { return copy(p, "half"), errReader }

func TestHalfAJobIsNoJob(t *testing.T) { // G32
	t.Parallel()
	s := start(t, t.TempDir(), Config{})
	if err := s.Put("a", failingReader{}); !errors.Is(err, errReader) {
		t.Errorf("Put = %v, want the reader's error", err)
	}
	if n := files(t, s, tmpPart) + files(t, s, newPart); n != 0 {
		t.Errorf("%d files stayed behind", n)
	}
}

func TestFormats(t *testing.T) { // G42
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  *FormatError // without Dir; nil: is taken
	}{
		"empty":          {nil, nil},
		"begun":          {map[string]string{"tmp/format~x~1": "", ".nfs0001": ""}, nil},
		"mount point":    {map[string]string{"lost+found/x": ""}, nil},
		"this version":   {map[string]string{"format": format + "\n", "README": ""}, nil},
		"later version":  {map[string]string{"format": "sysprim spool 2\nmore\n"}, &FormatError{Found: "sysprim spool 2"}},
		"something else": {map[string]string{"format": "C: \n"}, &FormatError{Found: "C: "}},
		"cut short":      {map[string]string{"format": format}, &FormatError{Found: format}},
		"home directory": {map[string]string{"Documents/x": ""}, &FormatError{Alien: "Documents"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, data := range tc.files {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
				must(t, os.WriteFile(filepath.Join(dir, file), []byte(data), 0o644))
			}
			s, err := Open(dir, Config{})
			if tc.want == nil {
				must(t, err)
				put(t, s, "a")
				must(t, s.Close())
				return
			}
			got, ok := errors.AsType[*FormatError](err)
			tc.want.Dir = dir
			if !ok || *got != *tc.want {
				t.Errorf("Open = %v, want %v", err, tc.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != len(tc.files) {
				t.Errorf("Open changed what is not its own: %v", left)
			}
		})
	}
	for what, cfg := range map[string]Config{
		"negative Rescan": {Rescan: -1}, "negative Lease": {Lease: -1}, "long Label": {Label: strings.Repeat("x", maxLabel+1)},
	} {
		if _, err := Open(t.TempDir(), cfg); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v, want fs.ErrInvalid", what, err)
		}
	}
	long := start(t, t.TempDir(), Config{Label: strings.Repeat("\n", maxLabel)})
	if owners, err := long.Workers(); err != nil || len(owners) != 1 || owners[0] != long.owner {
		t.Errorf("with the longest label: workers %v, %v", owners, err)
	}
}

func TestLayoutErrors(t *testing.T) { // G41
	t.Parallel()
	layoutError := func(what string, err error, part string, target error) {
		t.Helper()
		le, ok := errors.AsType[*LayoutError](err)
		if !ok || le.Part != part || target != nil && !errors.Is(err, target) {
			t.Errorf("%s: %v, want a LayoutError about %s", what, err, part)
		}
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, donePart), nil, 0o644))
	_, err := Open(dir, Config{})
	layoutError("a file for a directory", err, donePart, nil)
	dir = t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, newPart)); err == nil {
		_, err = Open(dir, Config{})
		layoutError("a link for a directory", err, newPart, nil)
	}
	for part, errno := range map[string]error{donePart: syscall.EXDEV, newPart: syscall.EROFS} {
		disk := systest.NewDisk()
		must(t, disk.Mkdir(worldDir, 0o755))
		_, err = open(worldDir, Config{}, systest.Wrap(disk, func(c systest.Call, do func() error) error {
			if c.Op == "rename" && strings.HasPrefix(c.To, worldDir+"/"+part+"/.probe") {
				return errno
			}
			return do()
		}))
		layoutError(errno.Error(), err, part, errno)
	}
}

// Whatever strays into a spool is shown, left alone, and in nobody's way.
func TestStrangersInTheSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, Config{Rescan: 1})
	must(t, os.Mkdir(filepath.Join(dir, newPart, "directory"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, newPart, ".hidden"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, newPart, strings.Repeat("n", MaxName+1)), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, claimedPart, "by hand"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, donePart, "by hand"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, workersPart, "README"), nil, 0o644))
	links := 0
	if os.Symlink("/etc/passwd", filepath.Join(dir, newPart, "link")) == nil {
		// With a name of ours it is claimed, and not followed.
		must(t, os.Symlink("/etc/passwd", filepath.Join(dir, newPart, s.moved(file{name: "forged", id: newID()}).String())))
		links = 1
	}
	for range links {
		c := claim(t, s)
		if f, err := c.Open(); err == nil {
			f.Close()
			t.Errorf("%s was followed", c.Name())
		}
		must(t, c.Fail("a link"))
	}
	for range 3 {
		if c, err := s.TryClaim(); err != ErrEmpty {
			t.Fatalf("claimed %v, %v", c, err)
		}
	}
	_, err := s.Reclaim()
	must(t, err)
	entries, err := s.Entries()
	must(t, err)
	got := map[string]int{}
	for _, e := range entries {
		if e.Reason == "" {
			t.Errorf("%+v has no reason", e)
		}
		got[string(e.State)]++
	}
	if want := map[string]int{"new": 2 + links, "claimed": 1, "done": 1, "failed": links}; !cmp.Equal(got, want) {
		t.Errorf("entries %v, want %v", got, want)
	}
	if owners, err := s.Workers(); err != nil || len(owners) != 1 {
		t.Errorf("workers %v, %v", owners, err)
	}
	put(t, s, "a")
	must(t, claim(t, s).Done())
}

// A foreign tool that claims by link leaves ghosts of its own; ours are exactly one. G26, G27, G29
func TestLinkedJobIsClaimedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, Config{})
	put(t, s, "a")
	names, err := s.list(newPart)
	must(t, err)
	if err := os.Link(s.path(newPart, names[0]), s.path(claimedPart, "ghost")); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	c := claim(t, s)
	if _, err := s.TryClaim(); err != ErrEmpty {
		t.Errorf("a second claim: %v", err)
	}
	must(t, c.Done())
	if got, want := states(t, s), []string{"a done 1", "ghost claimed 0"}; !cmp.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// lossy is a file system on which listings miss entries and show others twice, as
// they may while the directory changes.
type lossy struct {
	sys.FS
	times func() int // how often a listing shows an entry
}

func (l lossy) ReadDir(name string) ([]string, error) {
	names, err := l.FS.ReadDir(name)
	var got []string
	for _, name := range names {
		for range l.times() {
			got = append(got, name)
		}
	}
	return got, err
}

// stale is a file system on which a look at some names finds nothing, though they
// are there: over NFS, what is not there is cached too.
type stale struct {
	sys.FS
	hidden func(name string) bool
}

func (l stale) Lstat(name string) (sys.Info, error) {
	if l.hidden(name) {
		return sys.Info{}, syscall.ENOENT
	}
	return l.FS.Lstat(name)
}

// One listing that shows nothing does not make the spool empty. G31
func TestListingThatMissesEverythingOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	listings := 0
	s := w.open(t, Config{}).through(lossy{w.disk, func() int { listings++; return min(1, listings-1) }})
	must(t, claim(t, s).Done())
}

func TestListingsThatMissAndRepeat(t *testing.T) { // G31
	t.Parallel()
	w := newWorld(t)
	s := on(t, lossy{w.disk, func() int { return rand.IntN(3) }}, worldDir, Config{})
	var jobs []string
	for i := range 100 {
		jobs = append(jobs, fmt.Sprint("j", i))
	}
	put(t, s, jobs...)
	var got []string
	for empty := 0; len(got) < len(jobs); {
		c, err := s.TryClaim()
		if err == ErrEmpty {
			if empty++; empty > 1000 {
				t.Fatalf("only %d jobs found", len(got))
			}
			continue
		}
		must(t, err)
		got = append(got, c.Name())
		must(t, c.Done())
	}
	slices.Sort(got)
	slices.Sort(jobs)
	if !slices.Equal(got, jobs) {
		t.Errorf("got %q, want each once", got)
	}
	must(t, once(w.disk, jobs...))
}

// A claim was made, its reply was lost, and a stale cache hid it: nobody holds it,
// and no other may take it from us. Our own Reclaim gives it back. G28, G30
func TestClaimThatNobodyNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "j")
	s := w.open(t, Config{})
	lie := true
	under := systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
		err := do()
		if lie && c.Op == "rename" && err == nil {
			return syscall.ENOENT
		}
		return err
	})
	s.through(stale{under, func(name string) bool { return lie && strings.Contains(name, claimedPart+"/") }})
	if _, err := s.TryClaim(); err != ErrEmpty {
		t.Fatalf("TryClaim = %v", err)
	}
	lie = false
	s.through(w.disk)
	must(t, once(w.disk, "j"))
	other := w.open(t, Config{})
	if n, err := other.Reclaim(); n != 0 || err != nil {
		t.Errorf("another reclaimed %d, %v from the living", n, err)
	}
	if n, err := s.Reclaim(); n != 1 || err != nil {
		t.Errorf("Reclaim = %d, %v, want the ghost", n, err)
	}
	if c := claim(t, other); c.Attempt() != 1 {
		t.Errorf("attempt %d, want 1: the ghost does not count", c.Attempt())
	}
}

// A file that cannot be moved does not keep the others from being claimed.
func TestOneBadFileIsPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a", "b", "c")
	s := w.open(t, Config{})
	s.through(systest.Wrap(w.disk, func(c systest.Call, do func() error) error {
		if c.Op == "rename" && strings.Contains(c.Path, "/b~") {
			return syscall.EPERM
		}
		return do()
	}))
	got := []string{claim(t, s).Name(), claim(t, s).Name()}
	slices.Sort(got)
	if want := []string{"a", "c"}; !cmp.Equal(got, want) {
		t.Errorf("claimed %q, want %q", got, want)
	}
	if _, err := s.TryClaim(); !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "/b~") {
		t.Errorf("TryClaim = %v, want the one that is left, and why", err)
	}
}

func TestSpoolThatWasRemoved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := Open(dir, Config{})
	must(t, err)
	put(t, s, "a", "b")
	c := claim(t, s)
	must(t, os.RemoveAll(dir))
	if err := c.Done(); !errors.Is(err, ErrClaimLost) {
		t.Errorf("Done = %v", err)
	}
	_, claimErr := s.TryClaim()
	_, entriesErr := s.Entries()
	_, workersErr := s.Workers()
	for name, err := range map[string]error{
		"TryClaim": claimErr, "Put": s.Put("c", strings.NewReader("")), "Entries": entriesErr, "Workers": workersErr,
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s = %v, want fs.ErrNotExist", name, err)
		}
	}
	s.Close()
}

// With claimed gone, a rename says ENOENT of a job that is still there: that is no
// lost race, and no empty spool.
func TestPartThatWasRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, Config{})
	put(t, s, "a")
	must(t, os.Remove(filepath.Join(dir, claimedPart)))
	if _, err := s.TryClaim(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("TryClaim = %v, want fs.ErrNotExist", err)
	}
}

func TestFileDroppedInByHandOverNFS(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.open(t, Config{Rescan: time.Minute})
		path := worldDir + "/new/report.xml"
		f, err := w.disk.Open(path, os.O_WRONLY|os.O_CREATE, 0o644)
		must(t, err)
		cached, err := w.disk.Lstat(path)
		must(t, err)
		s.through(cachedStat{w.disk, path, cached})
		for range 5 {
			_, err := f.Write([]byte("part "))
			must(t, err)
			if c, err := s.TryClaim(); err != ErrEmpty {
				t.Fatalf("a growing file was claimed: %v, %v", c, err)
			}
			time.Sleep(time.Minute)
		}
		must(t, f.Close())
		claim(t, s)
	})
}

type cachedStat struct {
	sys.FS
	name string
	info sys.Info
}

func (c cachedStat) Lstat(name string) (sys.Info, error) {
	if name == c.name {
		return c.info, nil
	}
	return c.FS.Lstat(name)
}
