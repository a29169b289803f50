// SPDX-License-Identifier: MIT

package fdguard

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Handler serves [Snapshot]: as a page, as JSON at ?format=json, and as a profile
// for go tool pprof at ?format=pprof. The page needs no script and no other
// resource, and its Content-Security-Policy allows none. ?sort=handles, oldest or
// name orders its tables.
//
// It shows file names and source locations; mount it where only operators get,
// like net/http/pprof.
func Handler() http.Handler { return std }

// Var is an expvar.Var that shows the counts of [Snapshot] as JSON:
//
//	expvar.Publish("fdguard", fdguard.Var{})
type Var struct{}

// String returns the counts as a JSON object.
func (Var) String() string {
	rep := Snapshot()
	out, _ := json.Marshal(struct {
		Tracked, Files, Private, ProcessOpen int
		Soft, Hard, Headroom                 int64
		Leaks                                map[string]int64
	}{rep.Tracked, rep.Files, rep.Private, rep.ProcessOpen, rep.Soft, rep.Hard, rep.Headroom, rep.Leaks})
	return string(out) // numbers and our own words only: it cannot fail
}

//go:embed page.css
var pageCSS string

//go:embed page.html
var pageHTML string

var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"css":  func() template.CSS { return template.CSS(pageCSS) },
		"text": printable,
		"age":  age,
	}).Parse(pageHTML))
})

// csp allows the one style sheet, by its hash, and links.
var csp = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
})

// maxRows bounds each table of the page. The JSON has everything.
const maxRows = 100

// ServeHTTP implements [http.Handler].
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", csp())
	var body bytes.Buffer
	var err error
	switch format := req.FormValue("format"); format {
	case "", "html":
		header.Set("Content-Type", "text/html; charset=utf-8")
		err = page().Execute(&body, newView(r.snapshot(), req.FormValue("sort")))
	case "json":
		header.Set("Content-Type", "application/json")
		enc := json.NewEncoder(&body)
		enc.SetIndent("", "  ")
		err = enc.Encode(r.snapshot())
	case "pprof":
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Disposition", `attachment; filename="`+profileName+`.pb.gz"`)
		err = r.writeProfile(&body, 0)
	default:
		http.Error(w, fmt.Sprintf("unknown format %q: html, json or pprof", format), http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	_, _ = w.Write(body.Bytes())
}

// A view is what the page shows of a Report.
type view struct {
	Report
	Sort    string
	Used    int // percent of the limit
	Alarm   string
	Tables  []tableView
	Chart   []chartLine
	Since   string
	ChartHi int
}

type tableView struct {
	Title, First string
	Rows         []rowView
	More         int
}

type rowView struct {
	Group
	Key   string
	Note  string
	Share int // percent of all handles
}

type chartLine struct{ Class, Points string }

func newView(rep Report, sort string) view {
	v := view{Report: rep, Sort: sort}
	if sort != "oldest" && sort != "name" {
		v.Sort = "handles"
	}
	if rep.Headroom >= 0 && rep.Soft > 0 {
		v.Used = int(min(100, 100*int64(rep.ProcessOpen)/rep.Soft))
		v.Alarm = "ok"
		if v.Used >= 90 {
			v.Alarm = "bad"
		} else if v.Used >= 70 {
			v.Alarm = "warn"
		}
	}
	v.Tables = []tableView{
		v.table("By file name", "Name", rep.ByName, func(g Group) (string, string) {
			return printable(g.Name), plural(g.Stacks, "stack")
		}),
		v.table("By opening stack", "Opened at", rep.ByStack, func(g Group) (string, string) {
			if len(g.Stack) == 0 {
				return "(not recorded)", plural(g.Names, "name")
			}
			return g.Stack[0].short(), plural(g.Names, "name")
		}),
	}
	v.chart()
	return v
}

func (v *view) table(title, first string, groups []Group, label func(Group) (key, note string)) tableView {
	t := tableView{Title: title, First: first}
	for _, g := range groups {
		key, note := label(g)
		t.Rows = append(t.Rows, rowView{Group: g, Key: key, Note: note, Share: 100 * g.Handles / max(1, v.Tracked)})
	}
	switch v.Sort {
	case "oldest":
		slices.SortStableFunc(t.Rows, func(a, b rowView) int { return cmp.Compare(b.Oldest, a.Oldest) })
	case "name":
		slices.SortStableFunc(t.Rows, func(a, b rowView) int { return cmp.Compare(a.Key, b.Key) })
	}
	if len(t.Rows) > maxRows {
		t.More = len(t.Rows) - maxRows
		t.Rows = t.Rows[:maxRows]
	}
	return t
}

// chart draws the trend in a box of 600 by 120.
func (v *view) chart() {
	if len(v.Trend) < 2 {
		return
	}
	first, last := v.Trend[0].Time, v.Trend[len(v.Trend)-1].Time
	v.Since, v.ChartHi = age(v.Time.Sub(first)), 1
	for _, s := range v.Trend {
		v.ChartHi = max(v.ChartHi, s.Tracked, s.ProcessOpen)
	}
	line := func(class string, value func(Sample) int) {
		var b strings.Builder
		for _, s := range v.Trend {
			x := 600 * float64(s.Time.Sub(first)) / float64(max(1, last.Sub(first)))
			fmt.Fprintf(&b, "%.1f,%.1f ", x, 118-116*float64(max(0, value(s)))/float64(v.ChartHi))
		}
		v.Chart = append(v.Chart, chartLine{class, b.String()})
	}
	line("process", func(s Sample) int { return s.ProcessOpen })
	line("tracked", func(s Sample) int { return s.Tracked })
}

// printable shows a file name so that it cannot pass for another: with control
// characters, invalid bytes and marks that reverse the text written out.
func printable(s string) string {
	q := strconv.Quote(s)
	if inner := q[1 : len(q)-1]; inner != s && strings.ReplaceAll(strings.ReplaceAll(inner, `\"`, `"`), `\\`, `\`) != s {
		return q
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// short leaves the directories out.
func (f Frame) short() string {
	return fmt.Sprintf("%s %s:%d", path.Base(f.Func), path.Base(f.File), f.Line)
}

// age rounds to two digits or so.
func age(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
