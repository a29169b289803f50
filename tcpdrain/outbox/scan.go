// SPDX-License-Identifier: MIT

package outbox

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"syscall"
)

const pageSize = 4096

// A frame is an intact record found in a segment.
type frame struct {
	seq  uint64
	size int64
	msg  []byte
	own  bool // msg is the receiver's; otherwise it lasts until the scanner moves
}

// A scanner finds the intact records of one segment in order, from off to end.
type scanner struct {
	f    file
	salt uint64
	off  int64  // where the next frame should be
	seq  uint64 // and its sequence number
	end  int64

	tried int64 // no frame begins in [off, tried), after damage
	buf   []byte
	at    int64 // buf holds the bytes of the segment from here on
}

// next returns the first intact frame in [off, end) and moves behind it.
// Without one it returns false and stays, so that end can grow.
func (s *scanner) next() (fr frame, ok bool, err error) {
	for at := max(s.off, s.tried); at+frameHeader <= s.end; at++ {
		if fr, ok, err = s.frameAt(at); err != nil {
			return frame{}, false, err
		}
		if ok {
			s.off, s.seq, s.tried = at+fr.size, fr.seq+1, 0
			return fr, true, nil
		}
		s.tried = at + 1
	}
	return frame{}, false, nil
}

// frameAt checks for a frame at offset at. Sequence numbers in a segment have no
// gaps, so one that skips more numbers than the damaged bytes before it could have
// held is none.
func (s *scanner) frameAt(at int64) (fr frame, ok bool, err error) {
	h, err := s.load(at, frameHeader)
	if err != nil {
		return fr, false, err
	}
	seq := binary.LittleEndian.Uint64(h[8:]) ^ mask(s.salt, at)
	size := int64(binary.LittleEndian.Uint32(h[4:]))
	if seq-s.seq > uint64(at-s.off)/frameHeader || size < frameHeader || size > s.end-at {
		return fr, false, nil
	}
	want := binary.LittleEndian.Uint32(h)
	if size <= int64(cap(s.buf)) {
		b, err := s.load(at, int(size))
		if err != nil || crc32.Update(0, castagnoli, b[4:]) != want {
			return fr, false, err
		}
		return frame{seq: seq, size: size, msg: b[frameHeader:]}, true, nil
	}

	// A damaged size may claim the rest of the segment: check before allocating,
	// and check again what is handed out.
	var crc uint32
	for p := at + 4; p < at+size; {
		b, err := s.load(p, int(min(int64(cap(s.buf)), at+size-p)))
		if err != nil {
			return fr, false, err
		}
		crc, p = crc32.Update(crc, castagnoli, b), p+int64(len(b))
	}
	if crc != want {
		return fr, false, nil
	}
	b := make([]byte, size)
	if err := s.read(b, at); err != nil {
		return fr, false, err
	}
	if crc32.Update(0, castagnoli, b[4:]) != want {
		return fr, false, nil
	}
	return frame{seq: seq, size: size, msg: b[frameHeader:], own: true}, true, nil
}

// load returns n bytes from offset at, which are below end and fit in buf.
func (s *scanner) load(at int64, n int) ([]byte, error) {
	if at < s.at || at+int64(n) > s.at+int64(len(s.buf)) {
		b := s.buf[:min(int64(cap(s.buf)), s.end-at)]
		s.buf = b[:0] // nothing, should the read fail
		if err := s.read(b, at); err != nil {
			return nil, err
		}
		s.buf, s.at = b, at
	}
	i := at - s.at
	return s.buf[i : i+int64(n)], nil
}

// read fills b from offset at. Where the medium cannot be read, or the file has
// been cut short, it gives zeros: damage like any other, for the checksum to find.
func (s *scanner) read(b []byte, at int64) error {
	n, err := s.f.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		clear(b[n:])
		return nil
	case !isMediumError(err):
		return err
	}
	for len(b) > 0 { // page by page, to lose no more than the medium did
		page := b[:min(int64(len(b)), pageSize-at%pageSize)]
		if n, err := s.f.ReadAt(page, at); n < len(page) {
			if !errors.Is(err, io.EOF) && !isMediumError(err) {
				return err
			}
			clear(page)
		}
		b, at = b[len(page):], at+int64(len(page))
	}
	return nil
}

// isMediumError reports that what is stored at an offset cannot be read, as
// opposed to a failure of the call that may not happen again.
func isMediumError(err error) bool {
	return errors.Is(err, syscall.EIO) || isChecksumError(err)
}
