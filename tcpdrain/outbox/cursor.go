// SPDX-License-Identifier: MIT

package outbox

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
)

// The cursor file says how far the queue has been acknowledged. It has four slots
// of a page each; the intact one of the highest generation counts.
//
// Slots 0 and 1 are written in turn, and each is made durable before the other is
// touched, so that a power cut can tear one at most. Slots 2 and 3 are written in
// turn at each Ack, to the page cache alone: a kill -9 can tear the one being stored
// to, and the other has all acknowledgements that had returned. One pair cannot do
// both, as an fsync at each Ack would cost 100 µs, and without it a power cut may
// tear both slots. Nothing rests on 2 and 3 after a power cut.
const (
	slotBytes   = 4096
	slots       = 4
	slotMagic   = "cursor1\n"
	slotHeader  = 160
	spanBytes   = 32
	cursorSpans = (slotBytes - slotHeader) / spanBytes // 123; more are delivered again after a crash
	cursorName  = "cursor"
)

// A state is what a slot holds.
type state struct {
	gen             uint64
	id              queueID
	floor, floorOrd uint64
	trail           place
	nextSeq         uint64 // of the next record to be appended, when the slot was written
	nextOrd         uint64
	clean           bool   // written by Close
	boot            string // of the machine, at the time
	spans           []span
}

// encode writes s to b, a slot, and returns how long it is.
func (s *state) encode(b []byte) int {
	spans := s.spans[:min(len(s.spans), cursorSpans)]
	copy(b, slotMagic)
	n := slotHeader + len(spans)*spanBytes
	binary.LittleEndian.PutUint32(b[12:], uint32(n))
	copy(b[16:], s.id[:])
	for i, v := range s.words() {
		binary.LittleEndian.PutUint64(b[32+8*i:], *v)
	}
	b[112] = 0
	if s.clean {
		b[112] = 1
	}
	clear(b[113:slotHeader])
	copy(b[113:slotHeader], s.boot)
	for i, t := range spans {
		p := b[slotHeader+i*spanBytes:]
		binary.LittleEndian.PutUint64(p, t.lo)
		binary.LittleEndian.PutUint64(p[8:], t.end)
		binary.LittleEndian.PutUint64(p[16:], t.ord)
		binary.LittleEndian.PutUint64(p[24:], t.ordEnd)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:n], castagnoli))
	return n
}

func (s *state) words() [10]*uint64 {
	return [10]*uint64{&s.gen, &s.floor, &s.floorOrd, &s.trail.seg.first, &s.trail.seg.ord,
		&s.trail.off, &s.trail.seq, &s.trail.ord, &s.nextSeq, &s.nextOrd}
}

func (s *state) decode(b []byte) (ok bool) {
	n := int(binary.LittleEndian.Uint32(b[12:]))
	if string(b[:8]) != slotMagic || n < slotHeader || n > len(b) ||
		binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[12:n], castagnoli) {
		return false
	}
	copy(s.id[:], b[16:])
	for i, v := range s.words() {
		*v = binary.LittleEndian.Uint64(b[32+8*i:])
	}
	s.clean = b[112] == 1
	boot := b[113:slotHeader]
	for len(boot) > 0 && boot[len(boot)-1] == 0 {
		boot = boot[:len(boot)-1]
	}
	s.boot = string(boot)
	for p := b[slotHeader:n]; len(p) >= spanBytes; p = p[spanBytes:] {
		s.spans = append(s.spans, span{binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]),
			binary.LittleEndian.Uint64(p[16:]), binary.LittleEndian.Uint64(p[24:])})
	}
	return true
}

type cursor struct {
	f      file
	gen    uint64 // of the newest state; under amu
	note   int    // which of slots 2 and 3 is written next, the older one; under amu
	behind bool   // the newest state is in neither, since it could not be written; under amu
	turn   int    // which of slots 0 and 1 is written next; under smu
	mem    []byte // slots 2 and 3, if they could be mapped
}

// openCursor opens the cursor file and returns its newest intact state, or nil.
func (q *Queue) openCursor() (*cursor, *state, error) {
	f, err := q.disk.open(filepath.Join(q.dir, cursorName), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, nil, err
	}
	b := make([]byte, slots*slotBytes)
	if err := (&scanner{f: f}).read(b, 0); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	c := &cursor{f: f}
	var best *state
	var durable, noted uint64 // generations of the newest slot of each pair
	for i := range slots {
		s := new(state)
		if !s.decode(b[i*slotBytes:][:slotBytes]) {
			continue
		}
		if best == nil || s.gen > best.gen {
			best, c.gen = s, s.gen
		}
		switch {
		case i < 2 && s.gen >= durable:
			durable, c.turn = s.gen, 1-i
		case i >= 2 && s.gen >= noted:
			noted, c.note = s.gen, 3-i
		}
	}
	return c, best, nil
}

// prepare maps the slots that Ack writes. All pages of the file exist by then.
func (c *cursor) prepare() error {
	if n, err := c.f.size(); err != nil {
		return err
	} else if n < slots*slotBytes {
		if _, err := c.f.WriteAt(make([]byte, slots*slotBytes-n), n); err != nil {
			return err
		}
	}
	if os.Getpagesize() <= 2*slotBytes { // the offset of a mapping is a multiple of the page size
		if mem, err := c.f.shared(2*slotBytes, 2*slotBytes); err == nil {
			c.mem = mem
		}
	}
	return nil
}

// keep writes s for the case that the process dies. It needs amu.
func (c *cursor) keep(s *state) (err error) {
	if c.mem != nil {
		b := c.mem[c.note*slotBytes:][:slotBytes]
		err = guarded(b, func() { s.encode(b) })
	} else {
		b := make([]byte, slotBytes)
		_, err = c.f.WriteAt(b[:s.encode(b)], int64(2+c.note)*slotBytes)
	}
	if c.behind = err != nil; err == nil {
		c.note = 1 - c.note
	}
	return err
}

// save makes s durable. If it cannot be written the other slot stands, and it may
// be tried again; a failed sync poisons q. It needs smu.
func (c *cursor) save(q *Queue, s *state) error {
	b := make([]byte, slotBytes)
	if _, err := c.f.WriteAt(b[:s.encode(b)], int64(c.turn)*slotBytes); err != nil {
		return err
	}
	if err := c.f.sync(); err != nil {
		return q.poison(err)
	}
	c.turn = 1 - c.turn
	return nil
}

func (c *cursor) close() error {
	if c.mem != nil {
		c.f.unmap(c.mem)
		c.mem = nil
	}
	return c.f.Close()
}

// state is what the cursor is to remember. It needs amu.
func (q *Queue) state(clean bool) *state {
	next := q.nextSeq.Load()
	q.cursor.gen++
	return &state{gen: q.cursor.gen, id: q.id, floor: q.acks.floor, floorOrd: q.acks.floorOrd, trail: q.trail.place(),
		nextSeq: next, nextOrd: next - q.skew, clean: clean, boot: q.boot, spans: q.acks.spans}
}
