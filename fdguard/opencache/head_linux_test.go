// SPDX-License-Identifier: MIT

package opencache

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// atRest returns a Cache to which every file is at rest.
func atRest(t testing.TB, dir string, cfg Config) *Cache {
	c := open(t, dir, cfg)
	c.sys.rest = 0
	return c
}

// overwrite writes into the file that has the name, from the beginning on.
func overwrite(t testing.TB, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, f io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// All that a request for a file at rest costs is one look, and one object.
func TestAFileAtRestIsNotReadTwice(t *testing.T) {
	dir := newDir(t, map[string]string{"small": "text", "large": strings.Repeat("x", 10_000)})
	c := atRest(t, dir, Config{Valid: time.Hour})
	fsys := c.FileSystem()
	buf := make([]byte, headSize)
	for name, size := range map[string]int64{"/small": 4, "/large": 10_000} {
		lent(t, c, name).Close()
		n := testing.AllocsPerRun(100, func() {
			f, err := fsys.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			info, err := f.Stat()
			if err != nil || info.Size() != size {
				t.Fatal(info, err)
			}
			for range 2 {
				if n, err := f.Read(buf); err != nil || int64(n) != min(size, headSize) {
					t.Fatal(n, err)
				}
				if _, err := f.Seek(0, io.SeekStart); err != nil {
					t.Fatal(err)
				}
			}
			f.Close()
		})
		if n > 1 {
			t.Errorf("%s: %v allocations for a request", name, n)
		}
	}
	// Descriptor and all, the file could be gone.
	f := lent(t, c, "/small")
	defer f.Close()
	if _, err := f.Stat(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(dir, "small"), "TEXT")
	if got := readAll(t, f); got != "text" {
		t.Errorf("read %q, want what was there at the Stat", got)
	}
}

// A change is seen by the next Stat, though size and time of modification are the old
// ones, and although the file was believed to be unchanged for an hour.
func TestAChangedFileIsReadAnew(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "one"})
	path := filepath.Join(dir, "a")
	when := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
	c := atRest(t, dir, Config{Valid: time.Hour})
	for i, want := range []string{"one", "two", "six"} {
		if i > 0 {
			time.Sleep(20 * time.Millisecond) // some ticks, for kernels before 6.13
			overwrite(t, path, want)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
		f := lent(t, c, "/a")
		info, err := f.Stat()
		if err != nil || !info.ModTime().Equal(when) {
			t.Errorf("%v, %v", info, err)
		}
		if f.begun != (i == 0) {
			t.Errorf("%s: the head is in force: %v", want, f.begun)
		}
		if got := readAll(t, f); got != want {
			t.Errorf("read %q, want %q", got, want)
		}
		f.Close()
	}
}

// After Valid the head is made anew: what a mapping changed without a trace shows then,
// and a file that was changed is at rest again.
func TestTheHeadIsMadeAnewAfterValid(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/dev/shm", "opencache") // where nothing is written back
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a")
	write(t, path, "old")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapping, err := unix.Mmap(int(f.Fd()), 0, 3, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Munmap(mapping)
	copy(mapping, "OLD") // sets the times

	c := atRest(t, dir, Config{Valid: time.Hour})
	get := func() (text string, begun bool) {
		f := lent(t, c, "/a")
		defer f.Close()
		if _, err := f.Stat(); err != nil {
			t.Fatal(err)
		}
		return readAll(t, f), f.begun
	}
	if got, begun := get(); got != "OLD" || !begun {
		t.Fatalf("read %q, head: %v", got, begun)
	}
	copy(mapping, "new")
	expire(c)
	if got, begun := get(); got != "new" || !begun {
		t.Errorf("after Valid: read %q, head: %v", got, begun)
	}
	overwrite(t, path, "NEW")
	expire(c)
	if got, begun := get(); got != "NEW" || !begun {
		t.Errorf("changed, and after Valid: read %q, head: %v", got, begun)
	}
}

// What cannot be sure to stay has no head.
func TestNoHead(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	path := filepath.Join(dir, "a")
	calls := 0
	changing := func(at int) func(*system) { // just after the call of this number
		return func(sys *system) {
			calls, sys.rest = 0, 0
			sys.stamp = func(f *fdguard.File) (stamp, error) {
				s, err := stampOf(f)
				if calls++; calls == at {
					write(t, path, strings.Repeat("changed ", at))
				}
				return s, err
			}
		}
	}
	failing := func(at int) func(*system) {
		return func(sys *system) {
			calls, sys.rest = 0, 0
			sys.stamp = func(f *fdguard.File) (stamp, error) {
				if calls++; calls == at {
					return stamp{}, unix.EIO
				}
				return stampOf(f)
			}
		}
	}
	atRest := func(sys *system) { sys.rest = 0 }
	early := newDir(t, map[string]string{"a": "text"})
	if err := os.Chtimes(filepath.Join(early, "a"), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		root      string
		change    func(*system)
		head, has bool // at the open, and at the Stat
	}{
		{"/a", dir, atRest, true, true},
		{"/a", dir, func(sys *system) {}, false, false},
		{"/a", early, atRest, false, false},
		{"/status", "/proc/self", atRest, false, false},         // has data, and no size
		{"/uevent_seqnum", "/sys/kernel", atRest, false, false}, // has less data than its size
		{"/a", dir, changing(1), false, false},
		{"/a", dir, changing(2), true, false},
		{"/a", dir, failing(1), false, false},
		{"/a", dir, failing(2), false, false},
		{"/a", dir, failing(3), true, false},
	} {
		c := faulty(t, tc.root, Config{Valid: time.Hour}, tc.change)
		if _, err := os.ReadFile(tc.root + tc.name); err != nil {
			continue // a container without it
		}
		f := lent(t, c, tc.name)
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if (f.head != nil) != tc.head || f.begun != tc.has {
			t.Errorf("%s, %d calls: head %v, in force %v; want %v, %v", tc.name, calls, f.head != nil, f.begun, tc.head, tc.has)
		}
		if got := readAll(t, f); got == "" || tc.root == dir && info.Size() != int64(len(got)) {
			t.Errorf("%s, %d calls: size %d, read %q", tc.name, calls, info.Size(), got)
		}
		f.Close()
	}
}

// A file of FS may be held for long and read again.
func TestNoHeadForFS(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	c := atRest(t, dir, Config{})
	lent(t, c, "/a").Close()
	f, err := c.FS().Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Stat(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(dir, "a"), "TEXT")
	if got := readAll(t, f); got != "TEXT" {
		t.Errorf("read %q", got)
	}
}

// Whatever is done with it, a file with a head reads like an os.File.
func FuzzHead(f *testing.F) {
	f.Add(uint16(0), []byte("srRszSer"))
	f.Add(uint16(5), []byte("srrkrserwr"))
	f.Add(uint16(512), []byte("srkrRrsz"))
	f.Add(uint16(513), []byte("srRkserzrczr"))
	f.Add(uint16(300), []byte("sSr0zrgrk"))
	f.Add(uint16(300), []byte("se0R0k"))
	f.Add(uint16(2000), []byte("srRRRrkzmrcwrgr"))
	f.Fuzz(func(t *testing.T, size uint16, ops []byte) {
		text := make([]byte, size%4096)
		for i := range text {
			text[i] = byte(i * 7 >> 3)
		}
		dir := newDir(t, map[string]string{"a": string(text)})
		model, err := os.Open(filepath.Join(dir, "a"))
		if err != nil {
			t.Fatal(err)
		}
		defer model.Close()
		lentFile := lent(t, atRest(t, dir, Config{}), "/a")
		defer lentFile.Close()
		var ours http.File = lentFile
		for i, op := range ops {
			at := fmt.Sprintf("op %d of %q on %d bytes", i, ops, len(text))
			same := func(got, want any, gotErr, wantErr error) {
				t.Helper()
				if got != want || (gotErr == nil) != (wantErr == nil) || (gotErr == io.EOF) != (wantErr == io.EOF) {
					t.Fatalf("%s: %v, %v; os.File gives %v, %v", at, got, gotErr, want, wantErr)
				}
			}
			read := func(n int) {
				a, b := make([]byte, n), make([]byte, n)
				// A short read is allowed at the end of the head: fill both.
				na, errA := io.ReadFull(ours, a)
				nb, errB := io.ReadFull(model, b)
				same(string(a[:na]), string(b[:nb]), errA, errB)
			}
			seek := func(off int64, whence int) {
				a, errA := ours.Seek(off, whence)
				b, errB := model.Seek(off, whence)
				if errA != nil || errB != nil {
					a, b = 0, 0
				}
				same(a, b, errA, errB)
			}
			switch op {
			case 's':
				a, errA := ours.Stat()
				b, errB := model.Stat()
				same(a.Size(), b.Size(), errA, errB)
				same(a.Name(), b.Name(), nil, nil)
			case 'r':
				read(100)
			case 'R':
				read(700)
			case '0':
				n, err := ours.Read(nil)
				same(n, 0, err, nil)
			case 'z':
				seek(0, io.SeekStart)
			case 'S':
				seek(500, io.SeekStart)
			case 'k':
				seek(-50, io.SeekCurrent)
			case 'e':
				seek(-20, io.SeekEnd)
			case 'm':
				seek(-5000, io.SeekCurrent)
			case 'w':
				var a, b bytes.Buffer
				_, errA := io.Copy(&a, ours)
				_, errB := io.Copy(&b, model)
				same(a.String(), b.String(), errA, errB)
			case 'c': // as sendfile would
				conn, err := lentFile.SyscallConn()
				if err != nil || ours != http.File(lentFile) {
					continue
				}
				var moved int64
				if err := conn.Read(func(fd uintptr) bool {
					moved, err = unix.Seek(int(fd), 10, io.SeekCurrent)
					return true
				}); err != nil {
					t.Fatal(at, err)
				}
				want, _ := model.Seek(10, io.SeekCurrent)
				same(moved, want, err, nil)
			case 'g':
				g, err := fdguard.Wrap(ours)
				if err != nil {
					t.Fatal(at, err)
				}
				defer g.Close()
				ours = g
			}
		}
	})
}

// Who may read a file can change without its mode: the owner, an access control list, a
// label. All leave a new time of change, and the file is opened anew.
func TestWhoMayReadIsAskedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "text"})
	c := open(t, dir, Config{Valid: -1})
	wantContent(t, c, "a", "text")
	time.Sleep(20 * time.Millisecond) // some ticks, for kernels before 6.13
	if err := os.Chmod(filepath.Join(dir, "a"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantContent(t, c, "a", "text")
	wantContent(t, c, "a", "text")
	if s := c.Stats(); s.Misses != 2 || s.Replaced != 1 || s.Revalidated != 1 {
		t.Errorf("%+v, want the second Open to open, and the third not", s)
	}
}

// Two files that were made within one tick of the clock have the same times, and are two.
func TestSameTimesAreNotTheSameFile(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "old"})
	path := filepath.Join(dir, "a")
	old, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c := faulty(t, dir, Config{Valid: -1}, func(sys *system) {
		stat := sys.stat
		sys.stat = func(name string) (fs.FileInfo, error) {
			info, err := stat(name)
			if err == nil {
				info.Sys().(*syscall.Stat_t).Ctim = old.Sys().(*syscall.Stat_t).Ctim
			}
			return info, err
		}
	})
	wantContent(t, c, "a", "old")
	replace(t, path, "new")
	wantContent(t, c, "a", "new")
}
