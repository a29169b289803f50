// SPDX-License-Identifier: MIT

package execsafe

import "sync"

const chunkSize = 64 << 10 // what a pipe holds, and so the most that one read gives

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func newChunk() []byte { return chunks.Get().(*[chunkSize]byte)[:0] }

// freeChunk gives back a chunk that nobody refers to any more.
func freeChunk(c []byte) { chunks.Put((*[chunkSize]byte)(c[:chunkSize])) }

// seal returns the contents of a chunk that will not grow, without its spare room.
func seal(c []byte, free bool) []byte {
	if len(c) == chunkSize {
		return c
	}
	exact := append(make([]byte, 0, len(c)), c...)
	if free {
		freeChunk(c)
	}
	return exact
}

// A store keeps the first head and the last tail bytes of a stream; what lies
// between them goes to a file if there is one, and is only counted otherwise. Bytes
// are read straight into the chunk where they stay, if they stay: the next ones
// belong into space(), and commit(n) says that n of them are there. A short tail is
// not worth chunks of its own: it is copied out of one that is used again and again.
//
// Invariants:
//
//	(1) first holds exactly the first min(total, head) bytes
//	(2) last and ring hold nothing while total < head. Later one of them, by
//	    shortTail, holds the last min(total-head, tail) bytes, and last perhaps
//	    some before these, in at most one chunk more than they need
//	(3) all chunks but the last one of each list are full, or sealed
type store struct {
	head, tail int64
	limit      int64 // total beyond which commit reports over
	total      int64
	first      [][]byte
	last       [][]byte
	lastLen    int64
	ring       []byte // grows to tail bytes, then begins at total-head modulo tail
	hot        []byte // the chunk that a short tail is copied from
	spill      *spill // nil unless the capture is a Spill
	lent       bool   // space() is being read into
}

func newStore(c Capture, sys *system) store {
	s := store{head: c.head, tail: c.tail, limit: -1}
	if c.kind == kindAll || c.kind == kindSpill {
		s.limit = c.limit
	}
	if c.kind == kindSpill {
		s.spill = &spill{dir: c.dir, max: c.limit - c.head, temp: sys.temp}
	}
	return s
}

func (s *store) shortTail() bool { return s.tail <= chunkSize/2 }

// space returns where the next bytes belong; it is never empty.
func (s *store) space() []byte {
	s.lent = true
	if left := s.head - s.total; left > 0 {
		if n := len(s.first); n == 0 || len(s.first[n-1]) == chunkSize {
			s.first = append(s.first, newChunk())
		}
		c := s.first[len(s.first)-1]
		return c[len(c):min(chunkSize, int64(len(c))+left)]
	}
	if s.shortTail() {
		if s.hot == nil {
			s.hot = newChunk()
		}
		return s.hot[:chunkSize]
	}
	n := len(s.last)
	switch {
	case n > 0 && len(s.last[n-1]) < chunkSize:
	case n > 0 && s.lastLen-chunkSize >= s.tail: // the oldest chunk is no longer needed
		c := s.last[0][:0]
		s.lastLen -= chunkSize
		s.last = append(s.last[1:], c)
	default:
		s.last = append(s.last, newChunk())
	}
	c := s.last[len(s.last)-1]
	return c[len(c):chunkSize]
}

// commit takes the first n bytes of space() into the stream. It reports whether the
// stream has now outgrown its limit.
func (s *store) commit(n int) (over bool, err error) {
	s.lent = false
	if s.total < s.head {
		c := &s.first[len(s.first)-1]
		*c = (*c)[:len(*c)+n]
		if s.total += int64(n); s.total == s.head {
			*c = seal(*c, true)
		}
		return false, nil // head is never more than limit
	}
	if s.shortTail() {
		p := s.hot[:n]
		s.remember(p)
		if s.spill != nil {
			err = s.spill.write(p)
		}
	} else {
		c := &s.last[len(s.last)-1]
		*c = (*c)[:len(*c)+n]
		s.lastLen += int64(n)
	}
	s.total += int64(n)
	return s.limit >= 0 && s.total > s.limit, err
}

// remember keeps the end of p, which comes after head, in the ring.
func (s *store) remember(p []byte) {
	at := s.total - s.head // of p[0]
	if skip := int64(len(p)) - s.tail; skip > 0 {
		p = p[skip:]
		at += skip
	}
	for len(p) > 0 {
		if room := s.tail - int64(len(s.ring)); room > 0 && at == int64(len(s.ring)) {
			n := min(int64(len(p)), room)
			s.ring = append(s.ring, p[:n]...)
			p, at = p[n:], at+n
			continue
		}
		if int64(len(s.ring)) < s.tail { // the first p was longer than the tail
			s.ring = append(s.ring, make([]byte, s.tail-int64(len(s.ring)))...)
		}
		n := copy(s.ring[at%s.tail:], p)
		p, at = p[n:], at+int64(n)
	}
}

// release gives back the chunks that nothing stays in, so that a silent stream
// holds no memory beyond what it keeps.
func (s *store) release() {
	s.lent = false
	for _, list := range []*[][]byte{&s.first, &s.last} {
		if n := len(*list); n > 0 && len((*list)[n-1]) == 0 {
			freeChunk((*list)[n-1])
			*list = (*list)[:n-1]
		}
	}
	if s.hot != nil {
		freeChunk(s.hot)
		s.hot = nil
	}
}

// output returns what was kept; the store must not be used afterwards. If space is
// still lent, to a read that was abandoned, no chunk goes back to the pool.
func (s *store) output() *Output {
	o := &Output{total: s.total, parts: s.first, gap: min(s.total, s.head)}
	free := !s.lent
	if n := len(o.parts); n > 0 && cap(o.parts[n-1]) == chunkSize {
		o.parts[n-1] = seal(o.parts[n-1], free)
	}
	if s.spill != nil {
		o.file, o.fileLen = s.spill.file, s.spill.size
		o.gap += o.fileLen
	}
	o.kept = o.gap + min(s.total-o.gap, s.tail)
	if n := int64(len(s.ring)); n > 0 {
		at := (s.total - s.head) % n
		if s.total-s.head < s.tail {
			at = 0
		}
		o.parts = append(o.parts, s.ring[at:], s.ring[:at])
	}
	skip := s.lastLen - min(s.tail, s.lastLen)
	for _, c := range s.last {
		n := min(skip, int64(len(c)))
		skip -= n
		switch {
		case n == 0 && len(c) == chunkSize:
			o.parts = append(o.parts, c)
			continue
		case n < int64(len(c)):
			o.parts = append(o.parts, append([]byte(nil), c[n:]...))
		}
		if free {
			freeChunk(c)
		}
	}
	if free && s.hot != nil {
		freeChunk(s.hot)
	}
	return o
}
