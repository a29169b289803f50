// SPDX-License-Identifier: MIT

package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Framed is a [Codec] and its counterpart. A record is sent as its length (4
// bytes), its sequence number (8 bytes) and its data, an acknowledgement as the
// sequence number (8 bytes), all in big-endian order.
//
// The client's end reads with [Framed.ReadRecord] and answers with
// [Framed.WriteAck], or leaves both to [Framed.Receive]. The zero value is ready
// to use, by any number of connections at once.
type Framed struct {
	// MaxRecord is the longest record that ReadRecord takes, in bytes. 0 means 16 MiB.
	MaxRecord int
}

// Encode implements [Codec].
func (Framed) Encode(dst []byte, rec Record) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(rec.Data)))
	dst = binary.BigEndian.AppendUint64(dst, rec.Seq)
	return append(dst, rec.Data...)
}

// ReadAck implements [Codec].
func (Framed) ReadAck(r io.Reader) (seq uint64, err error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// WriteAck acknowledges record seq.
func (Framed) WriteAck(w io.Writer, seq uint64) error {
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, seq))
	return err
}

// ReadRecord reads the next record. It returns [io.EOF] at the end of the stream,
// [io.ErrUnexpectedEOF] if that comes within a record, which will then be sent
// again whole, and [ErrTooLarge] for a record above MaxRecord.
func (f Framed) ReadRecord(r io.Reader) (Record, error) {
	var h [12]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Record{}, err
	}
	rec := Record{Seq: binary.BigEndian.Uint64(h[4:])}
	n, limit := int64(binary.BigEndian.Uint32(h[:])), int64(f.MaxRecord)
	if limit == 0 {
		limit = 16 << 20
	}
	if n > limit {
		return Record{}, fmt.Errorf("%w: record %d has %d bytes, the limit is %d", ErrTooLarge, rec.Seq, n, limit)
	}
	// Memory grows with what has arrived: a header alone can claim anything.
	rec.Data = []byte{}
	for at := int64(0); at < n; at = int64(len(rec.Data)) {
		rec.Data = append(rec.Data, make([]byte, min(n-at, max(at, 64<<10)))...)
		if _, err := io.ReadFull(r, rec.Data[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return Record{}, err
		}
	}
	return rec, nil
}

// Receive reads records from conn, and acknowledges each after handle has
// returned nil for it. It returns nil at the end of the stream, and else the error
// of handle or of conn. A record that handle refused is sent again on the next
// connection, and so may be the last ones of a connection that broke.
func (f Framed) Receive(conn io.ReadWriter, handle func(Record) error) error {
	for {
		rec, err := f.ReadRecord(conn)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = handle(rec)
		}
		if err == nil {
			err = f.WriteAck(conn, rec.Seq)
		}
		if err != nil {
			return err
		}
	}
}
