// SPDX-License-Identifier: MIT

package opencache

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzServesAsHTTPDir sends requests to two servers of one directory, the cache's and
// http.Dir's, and changes the directory in between. After each change it lets Valid
// pass. The replies are the same, to the byte.
func FuzzServesAsHTTPDir(f *testing.F) {
	random := rand.New(rand.NewPCG(4, 2))
	for range 40 {
		seed := make([]byte, 300)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 2000 {
			t.Skip()
		}
		d := newDiffer(t, script)
		for step := 0; len(d.script) > 0; step++ {
			if d.next(8) == 0 {
				d.change()
				continue
			}
			request := d.request()
			for range 1 + d.next(3) { // from the disk, and from the cache
				got, want := d.ours.ask(t, request), d.theirs.ask(t, request)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("step %d, %q: http.Dir (-), cache (+)\n%s", step, request, diff)
				}
			}
		}
	})
}

type differ struct {
	script       []byte
	dir          string
	c            *Cache
	ours, theirs *peer
}

// The sizes lie around what net/http reads itself.
var differSizes = []int{0, 1, 4, 511, 512, 513, 1024, 5000, 70_000}

var differNames = []string{
	"a.txt", "noext", "page.html", "index.html", "d/index.html", "d/a.css", "list/b", "list/c.json", "x/index.html/deep", "sp ace", "%41",
}

func newDiffer(t *testing.T, script []byte) *differ {
	d := &differ{script: script, dir: t.TempDir()}
	for _, name := range differNames {
		d.write(name)
	}
	_ = os.Symlink("a.txt", filepath.Join(d.dir, "link"))
	_ = os.Symlink("d", filepath.Join(d.dir, "linkdir"))
	d.c = open(t, d.dir, Config{Valid: time.Hour, Max: 4})
	d.c.sys.rest = 0
	d.ours = newPeer(t, d.c.FileSystem())
	d.theirs = newPeer(t, http.Dir(d.dir))
	return d
}

// next returns a number below n.
func (d *differ) next(n int) int {
	if len(d.script) == 0 {
		return 0
	}
	b := d.script[0]
	d.script = d.script[1:]
	return int(b) % n
}

func (d *differ) pick(of ...string) string { return of[d.next(len(of))] }

// write replaces a file, or writes it in place, with new content and an age.
func (d *differ) write(name string) {
	size := differSizes[d.next(len(differSizes))]
	text := bytes.Repeat([]byte{byte('a' + d.next(26)), '<', 0xff, '\n'}, size/4+1)[:size]
	path := filepath.Join(d.dir, name)
	to := path
	if d.next(2) == 0 {
		to += ".new"
	}
	// A directory may be in the way, or gone: that is a change, too.
	_ = os.MkdirAll(filepath.Dir(path), 0o755)
	_ = os.WriteFile(to, text, 0o644)
	_ = os.Chtimes(to, time.Time{}, time.Unix(1e9+int64(d.next(3)), 5e8))
	if to != path && os.Rename(to, path) != nil {
		_ = os.Remove(to)
	}
}

func (d *differ) change() {
	name := d.pick(differNames...)
	path := filepath.Join(d.dir, name)
	switch d.next(6) {
	case 0:
		_ = os.RemoveAll(path)
	case 1:
		if parent := filepath.Dir(path); parent != d.dir {
			_ = os.RemoveAll(parent)
		}
	case 2:
		_ = os.Remove(path)
		_ = os.Mkdir(path, 0o755)
	default:
		d.write(name)
	}
	expire(d.c)
}

func (d *differ) request() string {
	name := strings.NewReplacer(" ", "%20", "%", "%25").Replace(d.pick(append(differNames,
		"", "d", "list", "x", "x/index.html", "none", "a.txt/below", "link", "linkdir/a.css", "linkdir", "..", "d/../a.txt", "//d//", "d/.")...))
	name += d.pick("", "", "", "/", "/index.html", "?q=1", "%00", "%2f", "/..")
	var b strings.Builder
	fmt.Fprintf(&b, "%s /%s HTTP/1.%s\r\nHost: x\r\n", d.pick("GET", "GET", "GET", "HEAD", "POST"), name, d.pick("1", "1", "1", "0"))
	for range d.next(4) {
		when := time.Unix(1e9+int64(d.next(4))-1, 0).UTC().Format(http.TimeFormat)
		switch d.next(8) {
		case 0, 1, 2:
			fmt.Fprintf(&b, "Range: %s=%s\r\n", d.pick("bytes", "bytes", "bytes", "lines"), d.ranges())
		case 3:
			fmt.Fprintf(&b, "If-Modified-Since: %s\r\n", d.pick(when, when, "yesterday"))
		case 4:
			fmt.Fprintf(&b, "If-Unmodified-Since: %s\r\n", when)
		case 5:
			fmt.Fprintf(&b, "If-Range: %s\r\n", d.pick(when, when, `"tag"`, "junk"))
		case 6:
			fmt.Fprintf(&b, "If-None-Match: %s\r\n", d.pick("*", `"tag"`, `W/"tag"`, "junk"))
		case 7:
			fmt.Fprintf(&b, "If-Match: %s\r\n", d.pick("*", `"tag"`, "junk"))
		}
	}
	return b.String() + "\r\n"
}

func (d *differ) ranges() string {
	var parts []string
	for range 1 + d.next(4) {
		from, to := differSizes[d.next(len(differSizes))], differSizes[d.next(len(differSizes))]
		parts = append(parts, d.pick(
			fmt.Sprintf("%d-%d", from, to), fmt.Sprintf("%d-", from), fmt.Sprintf("-%d", to), fmt.Sprintf("%d-%d", from, from), "0-0", "x-y", " 1 - 2 "))
	}
	return strings.Join(parts, ",")
}

// A peer is a server and a connection to it.
type peer struct {
	addr string
	conn net.Conn
	r    *bufio.Reader
}

func newPeer(t *testing.T, fsys http.FileSystem) *peer {
	srv := httptest.NewServer(http.FileServer(fsys))
	p := &peer{addr: srv.Listener.Addr().String()}
	t.Cleanup(func() {
		if p.conn != nil {
			p.conn.Close()
		}
		srv.Close()
	})
	return p
}

type reply struct {
	Status, Proto string
	Length        int64
	Header        http.Header
	Body          string
}

func (p *peer) ask(t *testing.T, request string) reply {
	t.Helper()
	if p.conn == nil {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		p.conn, p.r = conn, bufio.NewReader(conn)
	}
	p.conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(p.conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(p.r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	if res.Close {
		p.conn.Close()
		p.conn = nil
	}
	res.Header.Del("Date")
	if boundary := multipartBoundary(res); boundary != "" { // random
		body = bytes.ReplaceAll(body, []byte(boundary), []byte("boundary"))
		res.Header.Set("Content-Type", strings.Replace(res.Header.Get("Content-Type"), boundary, "boundary", 1))
	}
	return reply{res.Status, res.Proto, res.ContentLength, res.Header, string(body)}
}
