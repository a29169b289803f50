// SPDX-License-Identifier: MIT

package execsafe

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
)

// splitPieces runs the splitter over pieces; a partial line ends in "+".
func splitPieces(max int, pieces ...[]byte) (lines []string) {
	s := splitter{max: max}
	add := func(text []byte, partial bool) bool {
		line := string(text)
		if partial {
			line += "+"
		}
		lines = append(lines, line)
		_, _ = append(text, '!'), append(text, "??"...) // must not be seen by the next line
		return true
	}
	for _, p := range pieces {
		p = bytes.Clone(p) // it may be written over after split
		s.split(p, add)
		clear(p)
	}
	s.flush(add)
	return lines
}

// wantLines is the obvious model: cut at "\n", take off "\r", cut at max.
func wantLines(max int, all []byte) (lines []string) {
	for _, line := range splitAll(all) {
		for len(line) > max {
			lines = append(lines, string(line[:max])+"+")
			line = line[max:]
		}
		lines = append(lines, string(line))
	}
	return lines
}

// G38
func TestLinesOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "\n", "\r\n", "x", "x\n", "x\r\n", "\r\nx\n", "a\n\n\nb", "a\r", "a\r\r\n", "\r\r", "nul\x00in\nside\x00",
		"bad \xff\xfe utf8\n", "123", "1234", "12345", "1234\n", "12345\n", "1234\r\n", "12345\r\n", "1234\r", "1234\r\r\n", "1234\rx\n", "12345678\r\n", "123456789",
	} {
		want := fmt.Sprintf("%q", wantLines(4, []byte(in)))
		if got := fmt.Sprintf("%q", splitPieces(4, []byte(in))); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		if got := fmt.Sprintf("%q", splitPieces(4, bytes.SplitAfter([]byte(in), nil)...)); got != want {
			t.Errorf("%q in single bytes: %s, want %s", in, got, want)
		}
	}
	long := strings.Repeat("x", 10<<20)
	if got := splitPieces(math.MaxInt, []byte(long), []byte(long+"\n")); len(got) != 1 || len(got[0]) != 20<<20 {
		t.Errorf("a line of 20 MiB came as %d", len(got))
	}
}

// FuzzSplitter: a NUL ends a piece, as does the end of each input.
func FuzzSplitter(f *testing.F) {
	f.Add(uint16(4), []byte("ab\x00c\r\x00\ndefgh\r\n\x00\n"))
	f.Add(uint16(0), []byte("\r\n\r"))
	f.Fuzz(func(t *testing.T, size uint16, data []byte) {
		max := int(size)%20 + 1
		got := fmt.Sprintf("%q", splitPieces(max, bytes.SplitAfter(data, []byte{0})...))
		if want := fmt.Sprintf("%q", wantLines(max, data)); got != want {
			t.Errorf("max %d, %q: %s, want %s", max, data, got, want)
		}
	})
}

func TestSplitterStopsWhenTheLoopDoes(t *testing.T) {
	t.Parallel()
	for stopAt := range 4 {
		s := splitter{max: 3}
		n := 0
		f := func([]byte, bool) bool { n++; return n <= stopAt }
		if s.split([]byte("a\nlonger than three\nb\n"), f) || n != stopAt+1 {
			t.Errorf("stop after %d: called %d times", stopAt, n)
		}
	}
}
