// SPDX-License-Identifier: MIT

package opencache

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A directory with an index page is opened once, for the page and for the redirection
// to it, and one without each time, for the list.
func TestDirectoryOfAnIndexPage(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"d/index.html": "<p>page", "list/x": ""})
	path := filepath.Join(dir, "d")
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{Valid: 10 * time.Second, Inactive: time.Minute})
		handler := http.FileServer(c.FileSystem())
		want := func(name string, code int, body string, misses uint64) {
			t.Helper()
			before := c.Stats().Misses
			for range 3 {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest("GET", name, nil))
				if w.Code != code || body != "" && w.Body.String() != body {
					t.Errorf("%s: %d %q, want %d %q", name, w.Code, w.Body, code, body)
				}
			}
			if n := c.Stats().Misses - before; n != misses {
				t.Errorf("%s: %d opens, want %d", name, n, misses)
			}
		}
		want("/d/", http.StatusOK, "<p>page", 2)
		want("/d", http.StatusMovedPermanently, "", 0)
		want("/list/", http.StatusOK, "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href=\"x\">x</a>\n</pre>\n", 6)

		os.RemoveAll(path)
		time.Sleep(10*time.Second - time.Nanosecond)
		want("/d/", http.StatusOK, "<p>page", 0)
		time.Sleep(time.Nanosecond)
		want("/d/", http.StatusNotFound, "404 page not found\n", 3)
		write(t, path, "a file now")
		want("/d", http.StatusOK, "a file now", 1)
		os.Remove(path)
		write(t, filepath.Join(path, "index.html"), "<p>back")
		time.Sleep(10 * time.Second)
		want("/d/", http.StatusOK, "<p>back", 2)
		os.Remove(filepath.Join(path, "index.html"))
		time.Sleep(10 * time.Second)
		want("/d/", http.StatusOK, "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n</pre>\n", 6)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(c.entries) != 0 || c.seen.Len() != 0 || c.kept.Len() != 0 {
			t.Errorf("%d names known after Inactive", len(c.entries))
		}
	})
	wantOpen(t, dir, 0)
}

// Both have to be known for less than Valid, and are known for as long as they are used.
func TestDirectoryIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"d/index.html": "page"})
	synctest.Test(t, func(t *testing.T) {
		c := open(t, dir, Config{Valid: 10 * time.Second, Inactive: time.Minute})
		handler := http.FileServer(c.FileSystem())
		get := func(name string) int {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("GET", name, nil))
			return w.Code
		}
		wantContent(t, c, "d/index.html", "page")
		time.Sleep(5 * time.Second)
		get("/d/") // finds the page, and looks at the directory
		if s := c.Stats(); s.Misses != 2 {
			t.Errorf("%+v", s)
		}
		time.Sleep(5 * time.Second)
		get("/d/") // the page is due: looks at both
		if s := c.Stats(); s.Misses != 3 || s.Revalidated != 1 {
			t.Errorf("%+v, want a look at the page, and the directory opened", s)
		}
		time.Sleep(10 * time.Second)
		wantContent(t, c, "d/index.html", "page")
		get("/d/") // the directory is due
		if s := c.Stats(); s.Misses != 4 || s.Revalidated != 2 {
			t.Errorf("%+v, want the directory opened", s)
		}
		time.Sleep(5 * time.Second)
		os.RemoveAll(filepath.Join(dir, "d"))
		time.Sleep(5 * time.Second)
		if code := get("/d/"); code != http.StatusNotFound {
			t.Errorf("removed: %d", code)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		write(t, filepath.Join(dir, "d/index.html"), "page")
		c := open(t, dir, Config{Valid: time.Hour, Inactive: time.Minute})
		for range 10 {
			for _, name := range []string{"/d", "/d/index.html"} {
				f, err := c.FileSystem().Open(name)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			time.Sleep(40 * time.Second)
		}
		if s := c.Stats(); s.Misses != 2 {
			t.Errorf("%+v: opened again, though used more often than Inactive", s)
		}
	})
}

// A directory that was not opened is when it is used for more than its name.
func TestDirectoryIsOpenedWhenUsed(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"d/index.html": "page", "d/x": "x"})
	c := open(t, dir, Config{Valid: time.Hour})
	unopened := func() *directory {
		t.Helper()
		for range 2 {
			for _, name := range []string{"/d", "/d/index.html"} {
				f, err := c.FileSystem().Open(name)
				if err != nil {
					t.Fatal(err)
				}
				if d, ok := f.(*directory); ok {
					return d
				}
				f.Close()
			}
		}
		t.Fatal("the directory is opened each time")
		return nil
	}
	names := func(list []fs.FileInfo) (names []string) {
		for _, info := range list {
			names = append(names, info.Name())
		}
		slices.Sort(names)
		return names
	}
	d := unopened()
	if list, err := d.Readdir(-1); err != nil || !slices.Equal(names(list), []string{"index.html", "x"}) {
		t.Errorf("Readdir = %v, %v", list, err)
	}
	if _, err := d.Seek(0, 0); err != nil {
		t.Error(err)
	}
	if list, err := d.ReadDir(-1); err != nil || len(list) != 2 {
		t.Errorf("ReadDir after Seek = %v, %v", list, err)
	}
	if _, err := d.Read(make([]byte, 1)); err == nil {
		t.Error("a directory was read as a file")
	}
	if info, err := d.Stat(); err != nil || !info.IsDir() {
		t.Errorf("Stat = %v, %v", info, err)
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, d := range []*directory{d, unopened()} {
		d.Close()
		for name, err := range map[string]error{
			"Readdir": second(d.Readdir(-1)), "ReadDir": second(d.ReadDir(-1)), "Stat": second(d.Stat()),
			"Read": second(d.Read(nil)), "Seek": second(d.Seek(0, 0)),
		} {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s after Close = %v", name, err)
			}
		}
		if g, err := fdguard.Wrap(d); err == nil {
			t.Errorf("Wrap after Close = %v", g)
		}
	}
	d = unopened()
	g, err := fdguard.Wrap(d)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := g.Readdir(-1); err != nil || len(list) != 2 {
		t.Errorf("wrapped: %v, %v", list, err)
	}
	g.Close()
	d.Close()

	d = unopened()
	defer d.Close()
	if err := os.RemoveAll(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Readdir(-1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Readdir of a removed directory = %v", err)
	}
	if f, err := c.FS().Open("d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("FS, which opens for long, gives %v, %v", f, err)
	}
	c.Close()
	wantOpen(t, dir, 0)
}
