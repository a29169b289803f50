// SPDX-License-Identifier: MIT

package fdguard

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPageInBrowser loads the page in headless Chromium. With FDGUARD_SCREENSHOT
// set to a directory, it leaves the pictures there.
func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	if testing.Short() {
		t.Skip("starts a browser")
	}
	const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	r, _ := newRegistry(t, Stacks)
	dir := t.TempDir()
	open := func(name string) *File {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := r.open(name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	zebra, apple := open("zebra"), open("apple")
	for range 9 {
		mustClone(t, apple)
	}
	for range 30 {
		mustClone(t, zebra)
	}
	open("a rather long name, as people give to their documents, which has to be broken on a phone.pdf")
	hos := open("hostile")
	hos.h.core.name = hostile
	start := time.Now().Add(-100 * time.Second)
	r.trend.samples = nil
	for i := range 100 {
		r.trend.samples = append(r.trend.samples, Sample{start.Add(time.Duration(i) * time.Second), i*i/200 + 3, i*i/200 + 12 + i%7})
	}
	r.report(Leak{Kind: Dropped, Name: hostile, Age: 3 * time.Second, Stack: hos.h.stack.resolve()})
	srv := httptest.NewServer(r)
	defer srv.Close()

	run := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, browser, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
			"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir()}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		cmd.WaitDelay = 10 * time.Second
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("chromium %q: %v\n%s", args, err, stderr.String())
		}
		if strings.Contains(stderr.String(), "Content Security Policy") {
			t.Errorf("the page breaks its own policy:\n%s", stderr.String())
		}
		return string(out)
	}
	dom := run("--dump-dom", srv.URL)
	if strings.Contains(dom, "<title>owned") || !strings.Contains(dom, "43 open · fdguard</title>") {
		t.Errorf("title: %.300s", dom)
	}
	if strings.Contains(dom, "<img") || !strings.Contains(dom, "&lt;img src=x onerror=") {
		t.Error("the hostile name is not shown as text")
	}
	// The links that sort are the page's own.
	order := func(dom string) bool { return strings.Index(dom, "/zebra<svg") < strings.Index(dom, "/apple<svg") }
	if !strings.Contains(dom, `href="?sort=name"`) || !strings.Contains(dom, "/zebra<svg") || !order(dom) {
		t.Error("the page is not ordered by handles")
	}
	if order(run("--dump-dom", srv.URL+"?sort=name")) {
		t.Error("?sort=name does not order by name")
	}
	// On a phone nothing sticks out: a picture of the page's own width has the
	// style, and no more.
	shots := os.Getenv("FDGUARD_SCREENSHOT")
	if shots == "" {
		shots = t.TempDir()
	}
	for name, size := range map[string]string{"phone": "390,2000", "desktop": "1100,1400"} {
		file := filepath.Join(shots, name+".png")
		run("--screenshot="+file, "--window-size="+size, srv.URL)
		if info, err := os.Stat(file); err != nil || info.Size() < 10_000 {
			t.Errorf("%s: no picture: %v", name, err)
		}
	}
}
