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
// are read straight into the chunk where they stay: the next ones belong into
// space(), and commit(n) says that n of them are there.
//
// Invariants:
//
//	(1) first holds exactly the first min(total, head) bytes
//	(2) last holds nothing while total < head, and later at least the last
//	    min(total-head, tail) bytes, in at most one chunk more than these need
//	(3) all chunks but the last one of each list are full, or sealed
type store struct {
	head, tail int64
	limit      int64 // total beyond which commit reports over
	total      int64
	first      [][]byte
	last       [][]byte
	lastLen    int64
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
	n := len(s.last)
	if n > 0 && len(s.last[n-1]) < chunkSize {
		c := s.last[n-1]
		return c[len(c):chunkSize]
	}
	switch {
	case n == 1 && s.tail <= chunkSize/2: // a short tail moves to the front of its only chunk
		c := s.last[0]
		c = c[:copy(c, c[chunkSize-s.tail:])]
		s.last[0], s.lastLen = c, s.tail
		return c[len(c):chunkSize]
	case n > 0 && s.lastLen-chunkSize >= s.tail: // the oldest chunk is no longer needed
		c := s.last[0][:0]
		s.lastLen -= chunkSize
		s.last = append(s.last[1:], c)
	default:
		s.last = append(s.last, newChunk())
	}
	return s.last[len(s.last)-1][:chunkSize]
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
		return s.total > s.limit && s.limit >= 0, nil
	}
	c := &s.last[len(s.last)-1]
	old := len(*c)
	*c = (*c)[:old+n]
	s.lastLen += int64(n)
	s.total += int64(n)
	if s.spill != nil {
		err = s.spill.write((*c)[old:])
	}
	return s.total > s.limit && s.limit >= 0, err
}

// release gives back a chunk that nothing has been read into, so that a silent
// stream holds no memory.
func (s *store) release() {
	s.lent = false
	for _, list := range []*[][]byte{&s.first, &s.last} {
		if n := len(*list); n > 0 && len((*list)[n-1]) == 0 && cap((*list)[n-1]) == chunkSize {
			freeChunk((*list)[n-1])
			*list = (*list)[:n-1]
		}
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
	tail := min(s.tail, s.lastLen)
	o.kept = o.gap + tail
	skip := s.lastLen - tail
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
	return o
}
