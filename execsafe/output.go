// SPDX-License-Identifier: MIT

package execsafe

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"sync"
)

// An Output is what was kept of a stream. It does not change any more, and its
// methods may be called from many goroutines at once. The zero Output is empty.
type Output struct {
	total   int64    // bytes that the stream had
	kept    int64    // bytes that are still here
	gap     int64    // offset among the kept bytes where the others are missing
	file    *os.File // nil unless a Spill outgrew its memory; follows parts
	fileLen int64

	mu    sync.Mutex
	parts [][]byte // in memory; joined into one by Bytes
	whole []byte   // parts and file together, once Bytes has read the file
}

// NewOutput returns an Output of the given bytes, complete, for use in tests.
func NewOutput(b []byte) *Output {
	n := int64(len(b))
	return &Output{total: n, kept: n, gap: n, parts: [][]byte{b}}
}

// Total returns how many bytes the command wrote.
func (o *Output) Total() int64 { return o.total }

// Omitted returns how many of them were not kept.
func (o *Output) Omitted() int64 { return o.total - o.kept }

// Truncated reports whether any byte was not kept.
func (o *Output) Truncated() bool { return o.kept < o.total }

// Len returns how many bytes were kept; at most [math.MaxInt], which a large Spill
// on a 32-bit system may exceed.
func (o *Output) Len() int { return int(min(o.kept, math.MaxInt)) }

// Gap returns the offset among the kept bytes where the omitted ones were: 0 for a
// Tail, the end for a Head, between the two for a HeadTail.
func (o *Output) Gap() int64 { return o.gap }

// Bytes returns what was kept. The slice is the Output's own: it must not be
// changed. Chunks are joined, and a spilled part is read into memory, at most once;
// Reader, WriteTo and Lines do neither. If the spilled part cannot be read, Bytes
// returns what comes before it; Reader and WriteTo give the reason.
func (o *Output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.whole != nil {
		return o.whole
	}
	if o.file != nil {
		b, err := io.ReadAll(&outputReader{o: o, parts: o.parts})
		if err == nil {
			o.whole = b
		}
		return b
	}
	if len(o.parts) > 1 {
		o.parts = [][]byte{bytes.Join(o.parts, nil)}
	}
	if len(o.parts) == 0 {
		return nil
	}
	return o.parts[0]
}

// String returns what was kept as a string.
func (o *Output) String() string { return string(o.Bytes()) }

// Reader returns a new reader of what was kept, from its start. Readers are
// independent of each other. After Close, reading a spilled part gives
// [fs.ErrClosed].
func (o *Output) Reader() io.Reader {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &outputReader{o: o, parts: o.parts}
}

// WriteTo writes what was kept to w, in the chunks in which it is held.
func (o *Output) WriteTo(w io.Writer) (int64, error) {
	return o.Reader().(*outputReader).WriteTo(w)
}

// Lines yields what was kept line by line, without the "\n" or "\r\n" that ends
// each. A last line needs no end. Lines may be of any length; a line is valid until
// the loop asks for the next. If a spilled part cannot be read, Lines ends there.
func (o *Output) Lines() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		s := splitter{max: math.MaxInt}
		r := o.Reader().(*outputReader)
		defer r.free()
		for {
			p, err := r.next()
			if !s.split(p, func(text []byte, _ bool) bool { return yield(text) }) {
				return
			}
			if err != nil {
				break
			}
		}
		s.flush(func(text []byte, _ bool) bool { return yield(text) })
	}
}

// last returns up to n bytes from the end, none from before the gap unless the gap
// is the end, and reports whether anything came before them.
func (o *Output) last(n int) (b []byte, cut bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	have := o.kept
	if o.gap < o.kept && o.Truncated() {
		have -= o.gap
	}
	n = int(min(int64(n), have))
	cut = int64(n) < o.kept || o.gap == 0 && o.Truncated()
	b = make([]byte, n)
	at := n
	if o.fileLen > 0 {
		k := int(min(int64(n), o.fileLen))
		if _, err := o.file.ReadAt(b[n-k:], o.fileLen-int64(k)); err != nil {
			return nil, true
		}
		at -= k
	}
	for i := len(o.parts) - 1; i >= 0 && at > 0; i-- {
		p := o.parts[i]
		k := min(at, len(p))
		at -= copy(b[at-k:at], p[len(p)-k:])
	}
	return b, cut
}

// Close gives back the temporary file of a Spill, if there is one. It is
// idempotent; without it, the file is given back by the garbage collector.
func (o *Output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return nil
	}
	if err := closeTemp(o.file); err != nil && !isClosed(err) {
		return fmt.Errorf("execsafe: closing a spill file: %w", err)
	}
	return nil
}

// An outputReader walks over the chunks in memory, then over the file.
type outputReader struct {
	o     *Output
	parts [][]byte
	pos   int   // in parts[0]
	off   int64 // in the file
	buf   []byte
}

// next returns the next piece, which is valid until the next call, and io.EOF or
// another error with the last one.
func (r *outputReader) next() ([]byte, error) {
	if len(r.parts) > 0 {
		p := r.parts[0][r.pos:]
		r.parts, r.pos = r.parts[1:], 0
		return p, nil
	}
	if r.off >= r.o.fileLen {
		return nil, io.EOF
	}
	if r.buf == nil {
		r.buf = newChunk()
	}
	n, err := r.readFile(r.buf)
	return r.buf[:n], err
}

func (r *outputReader) free() {
	if r.buf != nil {
		freeChunk(r.buf)
		r.buf = nil
	}
}

func (r *outputReader) readFile(p []byte) (int, error) {
	n, err := r.o.file.ReadAt(p[:min(int64(len(p)), r.o.fileLen-r.off)], r.off)
	r.off += int64(n)
	if err == io.EOF && r.off < r.o.fileLen {
		err = io.ErrUnexpectedEOF
	} else if err != nil && isClosed(err) {
		err = fmt.Errorf("execsafe: reading spilled output: %w", fs.ErrClosed)
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}

func (r *outputReader) Read(p []byte) (int, error) {
	for len(r.parts) > 0 {
		n := copy(p, r.parts[0][r.pos:])
		if r.pos += n; r.pos == len(r.parts[0]) {
			r.parts, r.pos = r.parts[1:], 0
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	if r.off < r.o.fileLen {
		return r.readFile(p)
	}
	return 0, io.EOF
}

func (r *outputReader) WriteTo(w io.Writer) (total int64, err error) {
	defer r.free()
	for {
		p, rerr := r.next()
		if len(p) > 0 {
			n, err := w.Write(p)
			total += int64(n)
			if err == nil && n < len(p) {
				err = io.ErrShortWrite
			}
			if err != nil {
				return total, err
			}
		}
		if rerr == io.EOF {
			return total, nil
		} else if rerr != nil {
			return total, rerr
		}
	}
}
