// SPDX-License-Identifier: MIT

package execsafe

import "bytes"

// A splitter cuts a stream that comes in pieces into lines. Text is the line
// without its "\n" or "\r\n"; a line longer than max comes in pieces of max bytes, of
// which all but the last are partial. Whole lines inside one piece are not copied.
type splitter struct {
	max  int
	rest []byte // the beginning of a line whose end has not come; at most max+1 bytes
}

// split yields the lines that p ends, and reports false if yield did. The texts
// point into p or the splitter, and are valid until the next call; to append to one
// changes nothing else.
func (s *splitter) split(p []byte, yield func(text []byte, partial bool) bool) bool {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return s.keep(p, yield)
		}
		line := p[:i:i]
		p = p[i+1:]
		if len(s.rest) > 0 {
			if !s.keep(line, yield) {
				return false
			}
			line = s.rest
			s.rest = s.rest[:0]
		}
		if n := len(line); n > 0 && n <= s.max && line[n-1] != '\r' { // most are such
			if !yield(line, false) {
				return false
			}
		} else if !s.whole(line, yield) {
			return false
		}
	}
	return true
}

// keep takes p as the next part of an unended line. Only what cannot be the last
// max bytes of that line is yielded: a "\r" behind them may yet belong to its end.
func (s *splitter) keep(p []byte, yield func([]byte, bool) bool) bool {
	for {
		n := min(len(p), s.room())
		s.rest = append(s.rest, p[:n]...)
		p = p[n:]
		if len(s.rest) <= s.max || len(p) == 0 && len(s.rest) == s.max+1 && s.rest[s.max] == '\r' {
			return true
		}
		if !yield(s.rest[:s.max:s.max], true) {
			return false
		}
		s.rest = s.rest[:copy(s.rest, s.rest[s.max:])]
	}
}

// room returns how many bytes rest may take now.
func (s *splitter) room() int {
	if s.max+1 < s.max { // the greatest int: no bound
		return s.max - len(s.rest)
	}
	return s.max + 1 - len(s.rest)
}

// whole yields a line that has ended.
func (s *splitter) whole(line []byte, yield func([]byte, bool) bool) bool {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	for len(line) > s.max {
		if !yield(line[:s.max:s.max], true) {
			return false
		}
		line = line[s.max:]
	}
	return yield(line, false)
}

// flush yields the last line, if the stream did not end with the end of one.
func (s *splitter) flush(yield func([]byte, bool) bool) bool {
	if len(s.rest) == 0 {
		return true
	}
	line := s.rest
	s.rest = nil
	return s.whole(line, yield)
}
