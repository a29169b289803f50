// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// FuzzQueue drives a queue through appends, reads, acknowledgements, kills, power
// cuts and reopenings, and compares it with what it had promised.
func FuzzQueue(f *testing.F) {
	f.Add(uint64(0), []byte("aaannkkaaRnnSacnnkapnno"))
	f.Add(uint64(1), []byte("aAaAaAaAnnnnkkkkcaaapaaaonnnRnnnk"))
	f.Add(uint64(2), []byte("AAAAAAAAAAAAnnnnnnnnkkkkkkSpAAAAnnkkc"))
	f.Add(uint64(3), []byte("aSdaSdnnkaaooaannkkpaaadAAdnkc"))
	f.Add(uint64(4), []byte("AAAAAAnnkkAAAncAAAAnnkkAopAAAA"))
	f.Add(uint64(9), []byte("AAAAAAnnkkAAARncAAAAnnkkAopAAAAnk"))
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) {
		if len(ops) > 300 {
			return
		}
		r := rand.New(rand.NewPCG(seed, 3))
		d, h := newModelDisk(), newHistory()
		d.writes, d.lazy = seed%2 == 1, seed%4 >= 2
		cfg := modelConfig
		if seed/4%3 > 0 {
			cfg.MaxBytes, cfg.Full = 6<<10, []Policy{Fail, DropOldest}[seed/4%3-1]
		}
		reopen := func() *Queue {
			q, err := open("/q", cfg, d)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			return q
		}
		q := reopen()
		var out []uint64 // delivered, not acknowledged
		pos := uint64(0) // the last record delivered
		sizes := true    // h knows what takes room; after a power cut, acknowledged records may again
		for i, op := range ops {
			switch op {
			case 'a', 'A':
				size := r.IntN(100)
				if op == 'A' {
					size = r.IntN(2500)
				}
				full := cfg.MaxBytes > 0 && q.Bytes()+int64(frameHeader+size) > cfg.MaxBytes
				err := h.append(q, message(seed^uint64(i)<<32, size))
				if full && cfg.Full == Fail {
					if !errors.Is(err, ErrFull) {
						t.Fatalf("op %d: Append: %v, want ErrFull", i, err)
					}
				} else if err != nil {
					t.Fatalf("op %d: Append: %v", i, err)
				}
				if full && cfg.Full == DropOldest {
					h.dropped(q.Loss().Ranges)
				}
			case 'n':
				rec, ok, err := q.TryNext()
				if err != nil {
					t.Fatalf("op %d: Next: %v", i, err)
				}
				if !ok {
					for seq := range h.sent {
						if seq > pos && !h.acked[seq] {
							t.Fatalf("op %d: no record, but there is %d", i, seq)
						}
					}
					break
				}
				for seq := range h.sent {
					if seq > pos && seq < rec.Seq && !h.acked[seq] {
						t.Fatalf("op %d: record %d, but %d comes first", i, rec.Seq, seq)
					}
				}
				if rec.Seq <= pos || string(rec.Data) != string(h.sent[rec.Seq]) || h.acked[rec.Seq] {
					t.Fatalf("op %d: record %d after %d is wrong", i, rec.Seq, pos)
				}
				pos = rec.Seq
				out = append(out, rec.Seq)
			case 'k':
				if len(out) > 0 {
					k := r.IntN(len(out))
					if err := h.ack(q, out[k]); err != nil {
						t.Fatalf("op %d: Ack: %v", i, err)
					}
					out = append(out[:k], out[k+1:]...)
				}
			case 'R':
				if err := q.Rewind(); err != nil {
					t.Fatal(err)
				}
				out, pos = nil, 0
			case 'S':
				if err := h.sync(q); err != nil {
					t.Fatalf("op %d: Sync: %v", i, err)
				}
			case 'c', 'o', 'p':
				power := op == 'p'
				switch op {
				case 'c': // killed
					d = d.killed()
				case 'o': // closed
					if err := h.close(q); err != nil {
						t.Fatalf("op %d: Close: %v", i, err)
					}
				case 'p': // power cut
					d = d.cut(r)
				}
				q = reopen()
				h.check(t, q, power)
				if power { // what was not durable may be gone, and an acknowledgement undone
					sizes = false
					was := h
					h = newHistory()
					h.durable = was.durable
					q.Rewind()
					for _, rec := range drain(t, q) {
						h.sent[rec.Seq] = rec.Data
					}
				}
				q.Rewind()
				out, pos = nil, 0
			case 'd': // damage: one record at most is lost, and what is delivered is right
				h.close(q)
				names := d.segments()
				data := d.names[names[r.IntN(len(names))]].data
				if len(data) > 0 {
					data[r.IntN(len(data))] ^= byte(1 + r.IntN(255))
				}
				got, after := salvaged(t, d, h)
				if lost := after.Loss().Records; lost > 1 {
					t.Fatalf("op %d: one byte cost %d of %d records", i, lost, len(got))
				}
				was := h
				h = newHistory()
				h.durable = was.durable
				for _, seq := range got {
					h.sent[seq] = was.sent[seq]
				}
				if err := h.close(after); err != nil {
					t.Fatalf("op %d: Close: %v", i, err)
				}
				q = reopen()
				out, pos, sizes = nil, 0, false
			}
			if n := len(h.sent) - len(h.acked); q.Len() != n {
				t.Fatalf("op %d: Len %d, want %d", i, q.Len(), n)
			}
			if n := h.bytes(); sizes && (q.Bytes() != n || cfg.MaxBytes > 0 && n > cfg.MaxBytes) {
				t.Fatalf("op %d: Bytes %d, want %d", i, q.Bytes(), n)
			}
		}
		reopened(t, d.killed(), h, false)
	})
}
