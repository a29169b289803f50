// SPDX-License-Identifier: MIT

package fdguard

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPageInBrowser reads and clicks the page in headless Chromium. With
// FDGUARD_SCREENSHOT set to a directory, it leaves pictures there.
func TestPageInBrowser(t *testing.T) {
	t.Parallel()
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

	b := startBrowser(t)
	b.resize(390, 844, true)
	b.loaded("Page.navigate", map[string]any{"url": srv.URL})
	var title string
	if b.eval("document.title", &title); title != "43 open · fdguard" {
		t.Errorf("title %q", title)
	}
	var text string
	b.eval("document.body.innerText", &text)
	var scripts int
	b.eval("document.querySelectorAll('img,script').length", &scripts)
	if !strings.Contains(text, hostile) || scripts != 0 {
		t.Errorf("the hostile name is not shown as text, or made %d elements:\n%s", scripts, text)
	}
	var style string
	if b.eval("getComputedStyle(document.querySelector('section')).borderRadius", &style); style != "10px" {
		t.Errorf("the policy keeps the page's own style out: radius %q", style)
	}
	// Nothing sticks out at a phone's width, opened or not.
	fits := func(when string) {
		t.Helper()
		var width, wide int
		b.eval("document.documentElement.scrollWidth", &width)
		b.eval("[...document.querySelectorAll('body *')].filter(e => e.scrollWidth > e.clientWidth && e.clientWidth > 0 || e.getBoundingClientRect().right > innerWidth).length", &wide)
		if width > 390 || wide > 0 {
			t.Errorf("%s: %d pixels wide on a screen of 390, %d elements stick out", when, width, wide)
		}
	}
	fits("closed")

	// Sorting, with the mouse.
	rows := func() (names []string) {
		b.eval("[...document.querySelector('table').querySelectorAll('tbody tr td:first-child')].map(e => e.firstChild.data.split('/').pop())", &names)
		return names
	}
	order := func(how string, first, second string) {
		t.Helper()
		got := rows()
		i, j := slices.Index(got, first), slices.Index(got, second)
		if len(got) != 4 || i < 0 || i >= j {
			t.Errorf("%s: %q", how, got)
		}
		var current string
		b.eval("document.querySelector('th a[aria-current]')?.textContent ?? ''", &current)
		if !strings.EqualFold(current, how) {
			t.Errorf("marked as sorted by %q, not %q", current, how)
		}
	}
	order("handles", "zebra", "apple")
	b.click("a[href='?sort=name']")
	order("name", "apple", "zebra")
	b.click("a[href='?sort=oldest']")
	order("oldest", "zebra", "apple")
	b.click("a[href='?sort=name']")
	b.click("a[href='?sort=handles']")
	order("handles", "zebra", "apple")
	for _, line := range b.blocked {
		t.Errorf("the page breaks its own policy: %s", line)
	}

	shots := os.Getenv("FDGUARD_SCREENSHOT")
	picture := func(name string) {
		t.Helper()
		png := b.picture()
		if len(png) < 10_000 {
			t.Errorf("%s: no picture", name)
		}
		if shots != "" {
			if err := os.WriteFile(filepath.Join(shots, name+".png"), png, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	picture("phone")
	var opened int
	b.eval("(() => { const all = document.querySelectorAll('details'); all.forEach(d => d.open = true); return all.length })()", &opened)
	if opened < 5 {
		t.Errorf("%d details", opened)
	}
	fits("opened")
	picture("phone-opened")
	b.resize(1100, 900, false)
	b.loaded("Page.reload", nil)
	picture("desktop")
}
