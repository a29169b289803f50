// SPDX-License-Identifier: MIT

package opencache

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

var site = map[string]string{
	"index.html":         "<p>home",
	"a.txt":              strings.Repeat("0123456789abcdef", 4096),
	"noext":              "sniffed",
	"empty.txt":          "",
	"list/1.txt":         "1",
	"list/<2>&.txt":      "2",
	"indexed/index.html": "<p>index",
	"with space.css":     "b{}",
}

// Every reply is the one http.Dir gives.
func TestServesAsHTTPDir(t *testing.T) {
	t.Parallel()
	dir := newDir(t, site)
	c := open(t, dir, Config{})
	ours, theirs := http.FileServer(c.FileSystem()), http.FileServer(http.Dir(dir))
	modified := func(name string) string {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime().UTC().Format(http.TimeFormat)
	}
	type request struct {
		method, path string
		header       [2]string
	}
	var requests []request
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{
			"/", "/index.html", "/a.txt", "/a.txt/", "/noext", "/empty.txt", "/list", "/list/", "/indexed", "/indexed/",
			"/indexed/index.html", "/with%20space.css", "/none", "/none/", "/a.txt/below", "/list/none", "/../a.txt", "/%00", "/a%00.txt",
			"/list/..%2fa.txt", "/" + strings.Repeat("long", 100),
		} {
			requests = append(requests, request{method: method, path: path})
		}
		for _, header := range [][2]string{
			{"Range", "bytes=0-9"}, {"Range", "bytes=-10"}, {"Range", "bytes=65530-"}, {"Range", "bytes=5-1,99-"}, {"Range", "bytes=0-0,10-19"},
			{"Range", "bytes=99999999-"}, {"Range", "lines=1"}, {"If-Modified-Since", modified("a.txt")},
			{"If-Modified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"}, {"If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"},
			{"If-None-Match", "*"}, {"If-Match", `"x"`}, {"If-Range", modified("a.txt")},
		} {
			requests = append(requests, request{method, "/a.txt", header})
		}
		requests = append(requests, request{method, "/list/", [2]string{"If-Modified-Since", modified("list")}})
	}
	for _, r := range requests {
		for range 2 { // from the disk, and from the cache
			reply := func(h http.Handler) *http.Response {
				rec := httptest.NewRecorder()
				req := httptest.NewRequest(r.method, r.path, nil)
				if r.header[0] != "" {
					req.Header.Set(r.header[0], r.header[1])
				}
				h.ServeHTTP(rec, req)
				return rec.Result()
			}
			got, want := reply(ours), reply(theirs)
			gotBody, _ := io.ReadAll(got.Body)
			wantBody, _ := io.ReadAll(want.Body)
			if boundary := multipartBoundary(got); boundary != "" { // random
				gotBody = bytes.ReplaceAll(gotBody, []byte(boundary), []byte(multipartBoundary(want)))
				got.Header.Set("Content-Type", want.Header.Get("Content-Type"))
			}
			if got.StatusCode != want.StatusCode || !cmp.Equal(got.Header, want.Header) || !bytes.Equal(gotBody, wantBody) {
				t.Errorf("%s %s %v: %d %v %.40q, http.Dir gives %d %v %.40q", r.method, r.path, r.header,
					got.StatusCode, got.Header, gotBody, want.StatusCode, want.Header, wantBody)
			}
		}
	}
	wantOpen(t, dir, c.Stats().Kept)
}

func multipartBoundary(res *http.Response) string {
	_, boundary, _ := strings.Cut(res.Header.Get("Content-Type"), "boundary=")
	return boundary
}

func TestFS(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a": "1", "d/b": "2", "d/e/f": "3"})
	c := open(t, dir, Config{})
	if err := fstest.TestFS(c.FS(), "a", "d/b", "d/e/f"); err != nil {
		t.Error(err)
	}
	if _, err := c.FS().Open("../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("invalid path: %v", err)
	}
	wantOpen(t, dir, c.Stats().Kept)
}

func TestNothingLeadsOutOfTheRoot(t *testing.T) {
	t.Parallel()
	outside := newDir(t, map[string]string{"secret": "SECRET", "d/secret": "SECRET"})
	dir := newDir(t, map[string]string{"a": "inside", "d/a": "inside too"})
	for link, target := range map[string]string{
		"absolute":     filepath.Join(outside, "secret"),
		"climbs":       "../../../../../../../../.." + filepath.Join(outside, "secret"),
		"dir":          outside,
		"d/up":         "../../" + filepath.Base(outside),
		"via":          "dir/secret",
		"loop":         "loop",
		"dangling":     "none",
		"inside":       "a",
		"insidedir":    "d",
		"d/uptoinside": "../a",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	c := open(t, dir, Config{Valid: -1})
	srv := server(t, c.FileSystem())
	for range 2 {
		for _, name := range []string{
			"absolute", "climbs", "dir/secret", "dir/d/secret", "d/up/secret", "via", "loop", "dangling",
			"../" + filepath.Base(outside) + "/secret", "..%2f" + filepath.Base(outside) + "%2fsecret",
		} {
			res, body, err := get(srv.Client(), srv.URL+"/"+name)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == http.StatusOK || bytes.Contains(body, []byte("SECRET")) {
				t.Errorf("%s: %s %q", name, res.Status, body)
			}
			if f, err := c.FS().Open(name); err == nil {
				f.Close()
				t.Errorf("FS opens %s", name)
			}
			leads := !strings.Contains(name, "..") && name != "loop" && name != "dangling"
			if _, err := c.Open(name); errors.Is(err, ErrEscapes) != leads {
				t.Errorf("Open(%q) = %v, ErrEscapes wanted: %v", name, err, leads)
			}
		}
		for name, want := range map[string]string{"inside": "inside", "insidedir/a": "inside too", "d/uptoinside": "inside"} {
			if _, body, err := get(srv.Client(), srv.URL+"/"+name); err != nil || string(body) != want {
				t.Errorf("%s, a link within the root: %q, %v", name, body, err)
			}
		}
		// A directory that is exchanged for a link must not open the way later.
		os.RemoveAll(filepath.Join(dir, "insidedir"))
		os.RemoveAll(filepath.Join(dir, "d"))
		if err := os.Symlink(filepath.Join(outside, "d"), filepath.Join(dir, "d")); err != nil {
			t.Fatal(err)
		}
		if b, err := content(c, "d/secret"); err == nil {
			t.Errorf("through an exchanged directory: %q", b)
		}
		os.Remove(filepath.Join(dir, "d"))
		write(t, filepath.Join(dir, "d/a"), "inside too")
		os.Symlink("d", filepath.Join(dir, "insidedir"))
		os.Symlink("../a", filepath.Join(dir, "d/uptoinside"))
		os.Symlink("../../"+filepath.Base(outside), filepath.Join(dir, "d/up"))
	}
}

// G30: size and time are asked of the descriptor each time, also while it is valid, and
// also where the beginning was kept.
func TestFileChangedInPlaceHasItsOwnContentLength(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"a.txt": strings.Repeat("a", 1000)})
	c := open(t, dir, Config{Valid: time.Hour})
	c.sys.rest = 0
	srv := server(t, c.FileSystem())
	for i, size := range []int{1000, 5000, 10, 0, 100_000, 1} {
		want := strings.Repeat(string(rune('a'+i)), size)
		write(t, filepath.Join(dir, "a.txt"), want)
		res, body, err := get(srv.Client(), srv.URL+"/a.txt")
		if err != nil || res.ContentLength != int64(size) || string(body) != want {
			t.Errorf("%d bytes in place: Content-Length %d, body of %d, %v", size, res.ContentLength, len(body), err)
		}
	}
	if s := c.Stats(); s.Misses != 1 {
		t.Errorf("%+v: opened again", s)
	}
}

// G30: what a write in place does to a reply of which the beginning is sent. It has the
// length that was announced, or is an error at the client: not a hang, and not a short
// reply that looks whole.
func TestFileChangedInPlaceWhileSent(t *testing.T) {
	t.Parallel()
	const size = 64 << 20 // more than the sockets hold
	for name, tc := range map[string]struct {
		change func(*os.File) error
		err    error
		last   byte // of the reply
		after  int64
	}{
		"truncated":   {func(f *os.File) error { return f.Truncate(1) }, io.ErrUnexpectedEOF, 0, 1},
		"grown":       {func(f *os.File) error { return second(f.WriteAt([]byte("more"), size)) }, nil, 0, size + 4},
		"overwritten": {func(f *os.File) error { return second(f.WriteAt([]byte("new"), size-3)) }, nil, 'w', size},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := os.Create(filepath.Join(t.TempDir(), "big.bin"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			srv := server(t, open(t, filepath.Dir(f.Name()), Config{Valid: time.Hour}).FileSystem())
			request := func() *http.Response {
				res, err := srv.Client().Get(srv.URL + "/big.bin")
				if err != nil {
					t.Fatal(err)
				}
				return res
			}
			res := request()
			defer res.Body.Close()
			if _, err := io.ReadFull(res.Body, make([]byte, 1000)); err != nil || res.ContentLength != size {
				t.Fatalf("Content-Length %d, %v", res.ContentLength, err)
			}
			if err := tc.change(f); err != nil {
				t.Fatal(err)
			}
			n, last := int64(1000), byte(0)
			for buf := make([]byte, 1<<16); err == nil; {
				var m int
				if m, err = res.Body.Read(buf); m > 0 {
					n, last = n+int64(m), buf[m-1]
				}
			}
			if err == io.EOF {
				err = nil
			}
			if err != tc.err || err == nil && n != size || last != tc.last {
				t.Errorf("%d bytes that end in %q, %v; want the last to be %q, %v", n, last, err, tc.last, tc.err)
			}
			next := request()
			next.Body.Close()
			if next.ContentLength != tc.after {
				t.Errorf("afterwards: Content-Length %d, want %d", next.ContentLength, tc.after)
			}
		})
	}
}

// Files are replaced and removed under eight clients: every reply is a 404, or one
// version, whole.
func TestRepliesAreWholeWhileFilesAreReplaced(t *testing.T) {
	t.Parallel()
	names := []string{"a.bin", "b.bin", "c.bin", "d"}
	dir := t.TempDir()
	c := open(t, dir, Config{Valid: 2 * time.Millisecond, Max: 2, Inactive: 5 * time.Millisecond})
	srv := server(t, c.FileSystem())
	version := func(i int) string { // of one letter, and a length that belongs to it
		return strings.Repeat(string(rune('a'+i%26)), 1+(i%26)*5000)
	}
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for _, name := range names {
		writers.Go(func() {
			for i := range rounds {
				if i%7 == 3 {
					os.Remove(filepath.Join(dir, name))
				} else {
					replace(t, filepath.Join(dir, name), version(i))
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	var replies atomic.Int64
	for i := range 8 {
		readers.Go(func() {
			for n := i; !done.Load(); n++ {
				name := names[n%len(names)]
				res, body, err := get(srv.Client(), srv.URL+"/"+name)
				switch {
				case err != nil:
					t.Errorf("%s: %v", name, err)
				case res.StatusCode == http.StatusNotFound:
				case res.StatusCode != http.StatusOK || len(body) == 0:
					t.Errorf("%s: %s, %d bytes", name, res.Status, len(body))
				case string(body) != version(int(body[0]-'a')):
					t.Errorf("%s: %d bytes that are no version, Content-Length %d", name, len(body), res.ContentLength)
				default:
					replies.Add(1)
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	if replies.Load() == 0 {
		t.Error("no file was ever served")
	}
	time.Sleep(2 * time.Millisecond)
	for _, name := range names {
		got, err := content(c, name)
		want, direct := os.ReadFile(filepath.Join(dir, name))
		if got != string(want) || errors.Is(err, fs.ErrNotExist) != errors.Is(direct, fs.ErrNotExist) {
			t.Errorf("%s after Valid: %d bytes, %v; on disk %d bytes, %v", name, len(got), err, len(want), direct)
		}
	}
	srv.Close()
	c.Close()
	wantOpen(t, dir, 0)
}

// Clients that leave in the middle, and handlers that wrap again, panic and hijack:
// no descriptor stays.
func TestNothingStaysOpenAfterRudeClientsAndHandlers(t *testing.T) {
	t.Parallel()
	dir := newDir(t, map[string]string{"big.bin": strings.Repeat("x", 8<<20), "a.txt": "text"})
	c := open(t, dir, Config{})
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(wrapsAgain{wrapsAgain{c.FileSystem()}}))
	mux.HandleFunc("/panics", func(w http.ResponseWriter, r *http.Request) {
		f := mustOpen(t, c, "a.txt")
		defer f.Close()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/hijacks", func(w http.ResponseWriter, r *http.Request) {
		f := mustOpen(t, c, "a.txt")
		defer f.Close()
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(buf, "HTTP/1.0 200 OK\r\n\r\n")
		buf.Flush()
		io.Copy(conn, f)
		conn.Close()
	})
	srv := httptest.NewServer(http.TimeoutHandler(mux, 10*time.Second, ""))
	defer srv.Close()
	plain := httptest.NewServer(mux)
	defer plain.Close()
	for i := range 40 {
		for _, base := range []string{srv.URL, plain.URL} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			path := []string{"/big.bin", "/a.txt", "/panics", "/hijacks"}[i%4]
			if base == srv.URL && path == "/hijacks" {
				path = "/big.bin" // TimeoutHandler buffers, and lets nobody hijack
			}
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			bufio.NewReader(conn).ReadByte()
			conn.Close()
		}
	}
	srv.Close()
	plain.Close()
	if n := c.Stats().Kept; n != 2 {
		t.Errorf("%d kept, want 2", n)
	}
	c.Close()
	wantOpen(t, dir, 0)
}

// wrapsAgain is a middleware that wraps what it opens, as if nobody had.
type wrapsAgain struct{ http.FileSystem }

func (s wrapsAgain) Open(name string) (http.File, error) {
	f, err := s.FileSystem.Open(name)
	if err != nil {
		return nil, err
	}
	return fdguard.Wrap(f)
}

// G35
func TestSpecialFilesAreNeitherKeptNorWaitedFor(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the special files are Linux's")
	}
	c := open(t, "/proc/self", Config{})
	for range 2 {
		b, err := content(c, "status")
		if err != nil || !strings.HasPrefix(b, "Name:") {
			t.Errorf("status = %.20q, %v", b, err)
		}
	}
	dev := open(t, "/dev", Config{})
	if b, err := content(dev, "null"); err != nil || b != "" {
		t.Errorf("/dev/null = %q, %v", b, err)
	}
	if dev.Stats().Kept != 0 {
		t.Error("a device is kept")
	}
}
