// SPDX-License-Identifier: MIT

package outbox

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFramed(t *testing.T) {
	t.Parallel()
	var c Framed
	var b []byte
	for seq, data := range []string{"", "a", strings.Repeat("x", 1000)} {
		b = c.Encode(b, Record{uint64(seq), []byte(data)})
	}
	for cut := range b {
		r := bytes.NewReader(b[:cut])
		var err error
		for n := 0; err == nil; n++ {
			_, err = c.ReadRecord(r)
		}
		boundary := cut == 0 || cut == 12 || cut == 25
		if boundary != (err == io.EOF) || !boundary && err != io.ErrUnexpectedEOF {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if _, err := (Framed{MaxRecord: 10}).ReadRecord(bytes.NewReader(b[25:])); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	var w bytes.Buffer
	if err := c.WriteAck(&w, 1<<63+5); err != nil {
		t.Fatal(err)
	}
	if seq, err := c.ReadAck(&w); err != nil || seq != 1<<63+5 {
		t.Error(seq, err)
	}
	if _, err := c.ReadAck(&w); err != io.EOF {
		t.Error(err)
	}
}

// ReadRecord makes room for what has arrived, not for what a header claims.
func TestFramedTakesNoHeadersWord(t *testing.T) {
	t.Parallel()
	var c Framed
	r := &room{r: bytes.NewReader(c.Encode(nil, Record{1, make([]byte, 16<<20)})[:12+100])}
	if _, err := c.ReadRecord(r); err != io.ErrUnexpectedEOF || r.most > 64<<10 {
		t.Errorf("%v, with room for %d bytes when 100 had arrived", err, r.most)
	}
	for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 3<<20 + 7} {
		want := message(1, n)
		rec, err := c.ReadRecord(bytes.NewReader(c.Encode(nil, Record{9, want})))
		if err != nil || rec.Seq != 9 || rec.Data == nil || !bytes.Equal(rec.Data, want) {
			t.Errorf("record of %d bytes: %d bytes, %v", n, len(rec.Data), err)
		}
	}
}

// room notes the most that a reader is asked for at a time.
type room struct {
	r    io.Reader
	most int
}

func (r *room) Read(b []byte) (int, error) {
	r.most = max(r.most, len(b))
	return r.r.Read(b)
}
