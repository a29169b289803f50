// SPDX-License-Identifier: MIT

package execsafe

import "sync"

const chunkSize = 64 << 10 // what a pipe holds, and so the most that one read gives

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func newChunk() []byte { return chunks.Get().(*[chunkSize]byte)[:] }

// freeChunk gives back a chunk that nobody refers to any more.
func freeChunk(c []byte) { chunks.Put((*[chunkSize]byte)(c[:chunkSize])) }

// A ring keeps the last size bytes that are put into it. It takes memory as they
// come, chunk by chunk, and never more than size: the last chunk is as short as it
// has to be, and the first one grows, for those who have little to say.
type ring struct {
	size   int64
	chunks [][]byte // of chunkSize, but the last
	at     int64    // where the next byte goes: the oldest one's place, if there is any
}

func (r *ring) put(p []byte) {
	p = p[max(0, int64(len(p))-r.size):]
	for len(p) > 0 {
		i, from := int(r.at/chunkSize), int(r.at%chunkSize)
		room := int(min(chunkSize, r.size-int64(i)*chunkSize))
		n := min(len(p), room-from)
		if i == len(r.chunks) {
			r.chunks = append(r.chunks, nil)
		}
		c := &r.chunks[i]
		if end := from + n; end > len(*c) {
			if end > cap(*c) {
				if i == 0 {
					room = min(room, max(end, 2*cap(*c)))
				}
				*c = append(make([]byte, 0, room), *c...)
			}
			*c = (*c)[:end]
		}
		if &(*c)[from] != &p[0] { // else it is there already: see oldest
			copy((*c)[from:], p[:n])
		}
		p = p[n:]
		if r.at += int64(n); r.at == r.size {
			r.at = 0
		}
	}
}

// parts returns what r keeps, the oldest first.
func (r *ring) parts() (parts [][]byte) {
	add := func(c []byte) {
		if len(c) > 0 {
			parts = append(parts, c)
		}
	}
	i, from := int(r.at/chunkSize), int(r.at%chunkSize)
	if i == len(r.chunks) {
		return r.chunks
	}
	add(r.chunks[i][from:])
	for _, c := range r.chunks[i+1:] {
		add(c)
	}
	for _, c := range r.chunks[:i] {
		add(c)
	}
	add(r.chunks[i][:from])
	return parts
}

// A store keeps the first head and the last tail bytes of a stream; what lies
// between them goes to a file if there is one, and is only counted otherwise.
type store struct {
	first, last ring
	limit       int64 // total beyond which put reports over; -1: none
	total       int64
	spill       *spill // nil unless the capture is a Spill
}

func newStore(c Capture, sys *system) store {
	s := store{first: ring{size: c.head}, last: ring{size: c.tail}, limit: -1}
	if c.kind == kindAll || c.kind == kindSpill {
		s.limit = c.limit
	}
	if c.kind == kindSpill {
		s.spill = &spill{dir: c.dir, max: c.limit - c.head, temp: sys.temp}
	}
	return s
}

// put takes p into the stream. It reports whether the stream has now outgrown its
// limit.
func (s *store) put(p []byte) (over bool, err error) {
	n := min(int64(len(p)), max(0, s.first.size-s.total))
	s.total += int64(len(p))
	s.first.put(p[:n])
	s.last.put(p[n:])
	if s.spill != nil {
		err = s.spill.write(p[n:])
	}
	return s.limit >= 0 && s.total > s.limit, err
}

// oldest returns the chunk that the next bytes take the place of, if there is one.
// They may be read right into it before they are put.
func (s *store) oldest() []byte {
	r := &s.last
	if i := int(r.at / chunkSize); r.at%chunkSize == 0 && i < len(r.chunks) && len(r.chunks[i]) == chunkSize {
		return r.chunks[i]
	}
	return nil
}

// output returns what was kept; the store must not be used afterwards.
func (s *store) output() *Output {
	o := &Output{total: s.total, parts: s.first.chunks, gap: min(s.total, s.first.size)}
	if s.spill != nil {
		o.file, o.fileLen = s.spill.file, s.spill.size
		o.gap += o.fileLen
	}
	o.kept = o.gap + min(s.total-o.gap, s.last.size)
	o.parts = append(o.parts, s.last.parts()...)
	return o
}
