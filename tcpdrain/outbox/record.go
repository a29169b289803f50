// SPDX-License-Identifier: MIT

package outbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// On disk, little endian. A segment is a header of 64 bytes and then frames, each
//
//	crc  uint32  CRC32C of all that follows
//	size uint32  of the whole frame, so that a frame is never all zeros
//	seq  uint64  sequence number XOR mask(salt of the segment, offset of the frame)
//	payload
//
// The mask binds a frame to its place: bytes that look like a frame anywhere else,
// such as a message that is itself a copy of a segment, decode to an implausible
// sequence number. So a search for the next frame after damage cannot mistake a
// payload for one.
const (
	frameHeader   = 16
	segmentHeader = 64
	segmentMagic  = "outbox1\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A queueID tells the files of one queue from those of another.
type queueID [16]byte

// A segment describes one segment file. The ordinal of a record is its place among
// all records ever appended. It differs from the sequence number where numbers
// were skipped after a power cut (see recovery), so that skipped is not lost.
type segment struct {
	first uint64 // sequence number of its first record
	ord   uint64 // ordinal of its first record
	end   int64  // offset where its records end
	base  int64  // bytes of records in the segments before it, as counted by this process
}

func (s segment) name() string { return fmt.Sprintf("%016x-%016x.seg", s.first, s.ord) }

func parseSegmentName(name string) (s segment, ok bool) {
	n, err := fmt.Sscanf(name, "%16x-%16x.seg", &s.first, &s.ord)
	return s, n == 2 && err == nil && s.first > 0 && s.name() == name
}

// at is the number of record bytes up to offset off of this segment.
func (s segment) at(off int64) int64 { return s.base + off - segmentHeader }

func (s segment) header(id queueID) []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	copy(b[8:], id[:])
	binary.LittleEndian.PutUint64(b[24:], s.first)
	binary.LittleEndian.PutUint64(b[32:], s.ord)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// ownerOf returns the queue named by b, the header of the segment called s. It is
// the zero queueID for a segment that has another name now. A damaged header names
// nobody.
func (s segment) ownerOf(b []byte) (id queueID, intact bool) {
	if string(b[:8]) != segmentMagic || binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return id, false
	}
	copy(id[:], b[8:])
	if !bytes.Equal(b, s.header(id)) {
		return queueID{}, true
	}
	return id, true
}

// salt depends on nothing but the queue and the segment's name, so that a damaged
// header does not cost the records behind it.
func (s segment) salt(id queueID) uint64 {
	a, b := binary.LittleEndian.Uint64(id[:]), binary.LittleEndian.Uint64(id[8:])
	return mix(a ^ mix(b^mix(s.first)))
}

func mask(salt uint64, off int64) uint64 { return mix(salt + uint64(off)) }

// mix is the finalizer of SplitMix64, a bijection that spreads every bit.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// putFrame writes the frame of msg to dst, which has exactly its size.
func putFrame(dst []byte, mask, seq uint64, msg []byte) {
	_ = dst[frameHeader-1]
	binary.LittleEndian.PutUint32(dst[4:], uint32(len(dst)))
	binary.LittleEndian.PutUint64(dst[8:], seq^mask)
	copy(dst[frameHeader:], msg)
	binary.LittleEndian.PutUint32(dst, crc32.Update(0, castagnoli, dst[4:]))
}
