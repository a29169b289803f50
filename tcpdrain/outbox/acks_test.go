// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"slices"
	"testing"
)

func TestAckOutOfOrder(t *testing.T) {
	t.Parallel()
	d := newModelDisk()
	q, err := open("/q", Config{Sync: Never}, d)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		mustAppend(t, q, nil)
	}
	for seq := uint64(2); seq <= 200; seq += 2 {
		for range 2 { // again is nothing new
			if err := q.Ack(seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, seq := range []uint64{0, 301, 1 << 40} {
		if err := q.Ack(seq); !errors.Is(err, ErrUnknownSeq) {
			t.Errorf("Ack(%d) = %v", seq, err)
		}
	}
	check := func(q *Queue) {
		t.Helper()
		if q.Len() != 200 {
			t.Fatalf("Len %d", q.Len())
		}
		recs := drain(t, q)
		if len(recs) != 200 || slices.ContainsFunc(recs, func(r Record) bool { return r.Seq <= 200 && r.Seq%2 == 0 }) {
			t.Fatalf("%d records", len(recs))
		}
	}
	check(q)
	q, err = open("/q", Config{Sync: Never}, d.killed())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	check(q)
	for seq := uint64(1); seq < 200; seq += 2 {
		if err := q.Ack(seq); err != nil {
			t.Fatal(err)
		}
	}
	if q.Len() != 100 || q.Bytes() != 100*frameHeader {
		t.Fatalf("Len %d, Bytes %d", q.Len(), q.Bytes())
	}
}

// The memory for out-of-order acknowledgements is bounded.
func TestGaps(t *testing.T) {
	t.Parallel()
	var a acks
	a.floor = 1
	one := func(seq uint64) span { return span{seq, seq + 1, seq - 1, seq} }
	for i := range uint64(maxSpans) {
		if err := a.add(one(3 + 2*i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.add(one(3 + 2*maxSpans)); !errors.Is(err, ErrGaps) {
		t.Fatal(err)
	}
	for _, seq := range []uint64{2, 2 + 2*maxSpans} { // touch a neighbour, above or below: no new gap
		if err := a.add(one(seq)); err != nil {
			t.Fatal(seq, err)
		}
	}
	if err := a.add(one(1)); err != nil || a.floor != 4 {
		t.Fatal(err, a.floor)
	}
	if err := a.add(one(5 + 2*maxSpans)); err != nil {
		t.Fatal(err)
	}
}

// What was acknowledged ahead of Next is not read first.
func TestNextPassesOver(t *testing.T) {
	t.Parallel()
	d := newModelDisk()
	q, err := open("/q", Config{SegmentBytes: 16 << 10, Sync: Never}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for range 200 {
		mustAppend(t, q, make([]byte, 60))
	}
	for seq := range uint64(199) {
		if err := q.Ack(seq + 1); err != nil {
			t.Fatal(err)
		}
	}
	q.reader.buf = make([]byte, 0, 512) // all of them would be 30 reads
	d.calls = 0
	if rec, ok, err := q.TryNext(); rec.Seq != 200 || !ok || err != nil || d.calls > 3 {
		t.Errorf("record %d, %v, after %d calls of the disk", rec.Seq, err, d.calls)
	}
}

// Ranges that touch are one if their records were lost for one reason.
func TestLossRanges(t *testing.T) {
	t.Parallel()
	var l Loss
	for i, why := range []Reason{Dropped, Dropped, Damaged, Damaged, Dropped} {
		lo := uint64(10 * (i + 1))
		l.add(span{lo, lo + 10, lo, lo + 10}, 9, why) // one of the ten was acknowledged
	}
	want := []Range{{10, 29, 18, Dropped}, {30, 49, 18, Damaged}, {50, 59, 9, Dropped}}
	if !slices.Equal(l.Ranges, want) || l.Records != 45 {
		t.Errorf("%+v, want %+v", l, want)
	}
	for i := range uint64(2 * maxRanges) {
		l.add(span{100 + 2*i, 101 + 2*i, i, i + 1}, 1, Damaged)
	}
	if len(l.Ranges) != maxRanges || l.Records != 45+2*maxRanges {
		t.Errorf("%d ranges, %d records", len(l.Ranges), l.Records)
	}
}

// A range that begins below the floor, where nobody knows ordinals any more.
func TestAckAcrossFloor(t *testing.T) {
	t.Parallel()
	a := acks{floor: 10, floorOrd: 9}
	for _, s := range []span{{20, 30, 19, 29}, {5, 15, 0, 14}} {
		if err := a.add(s); err != nil {
			t.Fatal(err)
		}
	}
	if a.floor != 15 || a.floorOrd != 14 || a.above != 10 || len(a.spans) != 1 {
		t.Errorf("%+v, want the floor at 15 and one span of 10 above", a)
	}
}
