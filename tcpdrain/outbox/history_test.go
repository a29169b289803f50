// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"maps"
	"slices"
	"testing"
)

// A history is what was asked of a queue, and what it promised.
type history struct {
	sent     map[uint64][]byte // Append returned nil
	open     [][]byte          // Append failed, or did not return
	acked    map[uint64]bool   // Ack returned nil
	settled  map[uint64]bool   // and Sync or Close after it
	tried    map[uint64]bool   // Ack was called
	poisoned bool              // ErrPoisoned was returned
	lied     bool              // and a success afterwards
	durable  uint64            // records below were promised to survive a power cut
	dead     func() bool       // the process is; nothing that it does counts
}

func newHistory() *history {
	return &history{sent: map[uint64][]byte{}, acked: map[uint64]bool{}, settled: map[uint64]bool{}, tried: map[uint64]bool{},
		dead: func() bool { return false }}
}

func (h *history) append(q *Queue, msg []byte) error {
	if h.dead() {
		return errCrash
	}
	h.open = append(h.open, msg)
	seq, err := q.Append(msg)
	h.promise(err)
	if err == nil {
		h.sent[seq] = msg
		h.open = h.open[:len(h.open)-1]
		h.durable = max(h.durable, q.durable.Load())
	} else if !errors.Is(err, ErrPoisoned) && !errors.Is(err, errCrash) {
		h.open = h.open[:len(h.open)-1] // such a record must never appear
	}
	return err
}

// promise notes the result of a call that promises durability. G29: none may
// succeed once one has said that it is unknown.
func (h *history) promise(err error) {
	h.lied = h.lied || h.poisoned && err == nil
	h.poisoned = h.poisoned || errors.Is(err, ErrPoisoned)
}

func (h *history) ack(q *Queue, seq uint64) error {
	if h.dead() {
		return errCrash
	}
	h.tried[seq] = true
	err := q.Ack(seq)
	if err == nil {
		h.acked[seq] = true
	}
	return err
}

func (h *history) sync(q *Queue) error {
	if h.dead() {
		return errCrash
	}
	upTo := q.nextSeq.Load()
	err := q.Sync()
	h.promise(err)
	if err == nil {
		h.durable = max(h.durable, upTo)
		maps.Copy(h.settled, h.acked)
	}
	return err
}

func (h *history) close(q *Queue) error {
	upTo := q.nextSeq.Load()
	err := q.Close()
	if err == nil && !h.dead() {
		h.durable = max(h.durable, upTo)
		maps.Copy(h.settled, h.acked)
	}
	return err
}

// dropped notes what DropOldest has given up: it is as good as acknowledged.
func (h *history) dropped(ranges []Range) {
	for seq := range h.sent {
		if slices.ContainsFunc(ranges, func(r Range) bool { return r.First <= seq && seq <= r.Last }) {
			h.acked[seq], h.tried[seq] = true, true
		}
	}
}

// bytes is what the records take from the oldest one on that is not acknowledged.
func (h *history) bytes() (n int64) {
	first := ^uint64(0)
	for seq := range h.sent {
		if !h.acked[seq] {
			first = min(first, seq)
		}
	}
	for seq, msg := range h.sent {
		if seq >= first {
			n += int64(frameHeader + len(msg))
		}
	}
	return n
}

// check compares what q delivers with the history. After a power cut only what was
// durable is owed, and acknowledgements may be forgotten.
func (h *history) check(t testing.TB, q *Queue, power bool) {
	t.Helper()
	if h.lied {
		t.Fatal("success reported after ErrPoisoned")
	}
	n, lost := q.Len(), q.Loss().Records
	got := map[uint64]bool{}
	var last uint64
	for _, rec := range drain(t, q) {
		if rec.Seq <= last {
			t.Fatalf("record %d after %d", rec.Seq, last)
		}
		last = rec.Seq
		got[rec.Seq] = true
		if want, ok := h.sent[rec.Seq]; ok {
			if string(want) != string(rec.Data) {
				t.Fatalf("record %d has other bytes", rec.Seq)
			}
		} else if !h.wasOpen(rec.Data) {
			t.Fatalf("record %d was never appended", rec.Seq)
		}
		if h.settled[rec.Seq] || !power && h.acked[rec.Seq] {
			t.Fatalf("record %d delivered again", rec.Seq)
		}
	}
	for seq := range h.sent {
		if !h.tried[seq] && !got[seq] && (!power || seq < h.durable) {
			t.Fatalf("record %d lost (durable below %d; %+v)", seq, h.durable, q.Loss())
		}
	}
	found := int(q.Loss().Records - lost)
	if q.Len() != len(got) || n-found != len(got) {
		t.Fatalf("Len %d, then %d, with %d records and %d found lost: %+v", n, q.Len(), len(got), found, q.Loss())
	}
	if !power && q.Loss().Records > 0 {
		t.Fatalf("loss reported: %+v", q.Loss())
	}
}

func (h *history) wasOpen(msg []byte) bool {
	for _, m := range h.open {
		if string(m) == string(msg) {
			return true
		}
	}
	return false
}

var errCrash = errors.New("crash")
