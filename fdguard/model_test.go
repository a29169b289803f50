// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"testing"
)

// The model: a holder is open until it is closed; every operation succeeds on an
// open holder and fails on a closed one, whatever the others are; the descriptor
// is closed once, when no holder is open and no operation inside.
type op struct {
	kind   string // clone, do, close or wrap
	holder int
}

type result struct {
	op
	start, end int
	ok         bool
}

// linearizable reports whether some order of the results, in which nothing comes
// before what had ended before it began, is what the model would have answered.
func linearizable(results []result, open map[int]bool) bool {
	if len(results) == 0 {
		return true
	}
	for i, r := range results {
		if slices.ContainsFunc(results, func(o result) bool { return o.end < r.start }) {
			continue
		}
		if r.kind != "close" && r.ok != open[r.holder] {
			continue
		}
		next := map[int]bool{}
		maps.Copy(next, open)
		if r.kind == "close" {
			next[r.holder] = false
		}
		if linearizable(slices.Delete(slices.Clone(results), i, i+1), next) {
			return true
		}
	}
	return false
}

// A schedule runs actors one at a time and switches between them at the steps of
// the code under test, as told by choices; beyond those it picks the first.
type schedule struct {
	choices []int
	width   []int // how many actors could go on, at each decision
	clock   int
	resume  []chan struct{}
	yielded chan bool // true: has ended
	current int
}

func (s *schedule) yield() {
	me := s.current
	s.yielded <- false
	<-s.resume[me]
}

func (s *schedule) run(actors []func()) {
	var alive []int
	for i := range actors {
		s.resume = append(s.resume, make(chan struct{}))
		alive = append(alive, i)
	}
	for i, actor := range actors {
		go func() {
			<-s.resume[i]
			actor()
			s.yielded <- true
		}()
	}
	for len(alive) > 0 {
		choice := 0
		if n := len(s.width); n < len(s.choices) {
			choice = s.choices[n]
		}
		s.width = append(s.width, len(alive))
		s.current = alive[choice]
		s.resume[s.current] <- struct{}{}
		if <-s.yielded {
			alive = slices.Delete(alive, choice, choice+1)
		}
	}
}

// explore runs every schedule, and returns how many there are.
func explore(body func(s *schedule)) int {
	var choices []int
	for n := 1; ; n++ {
		s := &schedule{choices: choices, yielded: make(chan bool)}
		body(s)
		// The next in lexical order: count up the last decision that can be.
		for len(choices) < len(s.width) {
			choices = append(choices, 0)
		}
		i := len(choices) - 1
		for i >= 0 && choices[i]+1 >= s.width[i] {
			i--
		}
		if i < 0 {
			return n
		}
		choices = append(slices.Clone(choices[:i]), choices[i]+1)
	}
}

// runScripts runs one script per actor on holders that share a file, under one
// schedule, and compares with the model.
func runScripts(t *testing.T, file *os.File, holders int, scripts [][]op, s *schedule) {
	var closes, inside int
	r := &registry{sys: realSys}
	r.sys.open = func(name string, _ int, _ fs.FileMode) (*os.File, uintptr, fileID, error) {
		return file, 0, fileID{}, nil
	}
	r.sys.close = func(*os.File) error {
		closes++
		if inside > 0 {
			t.Error("the descriptor was closed with an operation inside")
		}
		if tableFiles(r) > 0 { // whoever is given the number next would be refused
			t.Error("the descriptor was closed while its number was in the table")
		}
		return nil
	}
	root, _ := r.open("x", 0, 0)
	handles := []*File{root}
	open := map[int]bool{0: true}
	for i := 1; i < holders; i++ {
		g, err := root.Clone()
		if err != nil {
			t.Fatal(err)
		}
		handles, open[i] = append(handles, g), true
	}
	r.hook = func(string) { s.yield() }
	var results []result
	var clones []*File
	tick := func() int { s.clock++; return s.clock }
	var actors []func()
	for _, script := range scripts {
		actors = append(actors, func() {
			for i, o := range script {
				if i > 0 {
					s.yield()
				}
				res := result{op: o, start: tick()}
				h := handles[o.holder]
				var err error
				switch o.kind {
				case "clone":
					var g *File
					if g, err = h.Clone(); g != nil {
						clones = append(clones, g)
					}
				case "do":
					err = h.Do(func(uintptr) error {
						inside++
						s.yield()
						if closes > 0 {
							t.Error("an operation was inside a closed descriptor")
						}
						inside--
						return nil
					})
				case "close":
					err = h.Close()
				case "wrap":
					var g *File
					if g, err = Wrap(struct{ *File }{h}); err == nil && g != h {
						t.Error("Wrap gave another handle")
					}
				}
				if err != nil && (o.kind == "close" || !errors.Is(err, fs.ErrClosed)) {
					t.Errorf("%v: %v", o, err)
				}
				res.ok, res.end = err == nil, tick()
				results = append(results, res)
			}
		})
	}
	s.run(actors)
	r.hook = nil
	if !linearizable(results, open) {
		t.Errorf("no order explains %+v", results)
	}
	left := len(clones)
	for i := range handles {
		if !slices.ContainsFunc(results, func(o result) bool { return o.kind == "close" && o.holder == i }) {
			left++
		}
	}
	if want := map[bool]int{true: 1, false: 0}[left == 0]; closes != want {
		t.Errorf("closed %d times with %d holders left", closes, left)
	}
	for _, f := range append(handles, clones...) {
		f.Close()
	}
	if closes != 1 || tableHandles(r) != 0 || tableFiles(r) != 0 {
		t.Errorf("in the end closed %d times, table has %d handles of %d files", closes, tableHandles(r), tableFiles(r))
	}
	if t.Failed() {
		t.Fatalf("holders %d, scripts %v, schedule %v", holders, scripts, s.choices)
	}
}

var kinds = []string{"clone", "do", "close", "wrap"}

// G5, G6, G7: every interleaving, at the steps between which another goroutine
// can matter, is explained by the model.
func TestEveryInterleaving(t *testing.T) {
	t.Parallel()
	file, err := os.Open(writeTemp(t, "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	t.Run("two actors with two operations each", func(t *testing.T) {
		n := 0
		for i := range 256 {
			k := []string{kinds[i&3], kinds[i>>2&3], kinds[i>>4&3], kinds[i>>6&3]}
			for _, second := range []int{0, 1} { // on the same holder, and on another
				if second == 0 && i&15 > i>>4 {
					continue // the mirror image of one that is run
				}
				n += explore(func(s *schedule) {
					runScripts(t, file, second+1, [][]op{{{k[0], 0}, {k[1], 0}}, {{k[2], second}, {k[3], second}}}, s)
				})
			}
			if testing.Short() && i > 64 {
				break
			}
		}
		t.Logf("%d schedules", n)
	})
	t.Run("three actors", func(t *testing.T) {
		n := 0
		for i := range 64 {
			k := []string{kinds[i&3], kinds[i>>2&3], kinds[i>>4&3]}
			for _, holders := range []int{1, 2, 3} {
				if holders == 1 && (i&3 > i>>2&3 || i>>2&3 > i>>4&3) {
					continue
				}
				n += explore(func(s *schedule) {
					runScripts(t, file, holders, [][]op{{{k[0], 0}}, {{k[1], 1 % holders}}, {{k[2], 2 % holders}}}, s)
				})
			}
			if testing.Short() && i > 16 {
				break
			}
		}
		t.Logf("%d schedules", n)
	})
}
