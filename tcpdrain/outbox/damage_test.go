// SPDX-License-Identifier: MIT

package outbox

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// damaged is a queue of a few segments that was closed, some of it acknowledged.
func damaged(t *testing.T) (*modelDisk, *history) {
	t.Helper()
	d, h := newModelDisk(), newHistory()
	q, err := open("/q", modelConfig, d)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		h.append(q, message(uint64(i), []int{0, 100, 700}[i%3]))
	}
	for seq := uint64(1); seq <= 3; seq++ {
		h.ack(q, seq)
	}
	if err := h.close(q); err != nil {
		t.Fatal(err)
	}
	return d, h
}

// salvaged opens d and returns what it delivers, having checked each byte of it and
// that what is missing was counted.
func salvaged(t *testing.T, d *modelDisk, h *history) (got []uint64, q *Queue) {
	t.Helper()
	q, err := open("/q", modelConfig, d)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	owed := map[uint64]bool{}
	for seq := range h.sent {
		owed[seq] = !h.acked[seq]
	}
	var last uint64
	for _, rec := range drain(t, q) {
		if want, ok := h.sent[rec.Seq]; !ok || string(want) != string(rec.Data) || rec.Seq <= last {
			t.Fatalf("record %d after %d is wrong", rec.Seq, last)
		}
		last = rec.Seq
		got = append(got, rec.Seq)
		delete(owed, rec.Seq)
	}
	l, lost := q.Loss(), uint64(0)
	for seq, is := range owed {
		if !is {
			continue
		}
		lost++
		if !slices.ContainsFunc(l.Ranges, func(r Range) bool { return r.First <= seq && seq <= r.Last }) {
			t.Fatalf("record %d is missing and not in %+v", seq, l)
		}
	}
	if l.Records != lost {
		t.Fatalf("%d records missing, %+v", lost, l)
	}
	if q.Len() != len(got) {
		t.Fatalf("Len %d with %d records", q.Len(), len(got))
	}
	return got, q
}

func (d *modelDisk) segments() (names []string) {
	for name := range d.names {
		if strings.HasSuffix(name, ".seg") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// G27: a flipped bit anywhere costs one record at most, and its length field none
// but its own; in the cursor it costs none.
func TestFlippedBitAtEveryByte(t *testing.T) {
	t.Parallel()
	d, h := damaged(t)
	names := append(d.segments(), "/q/cursor")
	if len(names) < 4 {
		t.Fatal(names)
	}
	bits := 1
	if os.Getenv("OUTBOX_LONG") != "" { // minutes: each bit of each byte
		bits = 8
	}
	for k, name := range names {
		step := 1
		if k != 1 && bits == 1 { // one segment byte by byte, the others here and there
			step = 13
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			for i := 0; i < len(d.names[name].data); i += step {
				for bit := range bits {
					e := d.killed()
					e.names[name].data[i] ^= 1 << ((bit + i) % 8)
					got, q := salvaged(t, e, h)
					if lost := q.Loss().Records; lost > 1 || name == "/q/cursor" && lost > 0 {
						t.Fatalf("bit %d of byte %d of %s cost %d records: got %v", bit, i, name, lost, got)
					}
					q.Close()
				}
			}
		})
	}
}

// G27: under Stop the damage is reported, where it is, and passed by nobody.
func TestStopAtDamage(t *testing.T) {
	t.Parallel()
	d, _ := damaged(t)
	d.names[d.segments()[1]].data[segmentHeader+frameHeader+2] ^= 1
	cfg := modelConfig
	cfg.OnCorrupt = Stop
	q, err := open("/q", cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var seq uint64
	for {
		rec, ok, err := q.TryNext()
		if err == nil && ok {
			seq = rec.Seq
			continue
		}
		e, is := errors.AsType[*CorruptError](err)
		if !is || !errors.Is(err, ErrCorrupt) || e.First != seq+1 || e.Last != seq+1 {
			t.Fatalf("after record %d: %v, want a CorruptError for the next one", seq, err)
		}
		break
	}
	for range 3 {
		if _, err := q.Next(t.Context()); !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	}
	if err := q.Rewind(); err != nil {
		t.Fatal(err)
	}
	if rec, err := q.Next(t.Context()); err != nil || rec.Seq != 4 {
		t.Fatal(rec, err)
	}
}

// G26: a tail torn at every byte of the last record. What is appended after
// recovery must be there after the next.
func TestTornTailAtEveryByte(t *testing.T) {
	t.Parallel()
	d, h := damaged(t)
	name := d.segments()[len(d.segments())-1]
	size := len(d.names[name].data)
	for cut := 1; cut <= frameHeader+700; cut++ { // the last record
		e := d.killed()
		e.names[name].data = e.names[name].data[:size-cut]
		got, q := salvaged(t, e, h)
		if want := 30 - 3 - 1; len(got) != want {
			t.Fatalf("cut by %d: %d records, want %d", cut, len(got), want)
		}
		seq, err := q.Append([]byte("after"))
		if err != nil || q.Close() != nil {
			t.Fatal(err)
		}
		if q, err = open("/q", modelConfig, e.killed()); err != nil {
			t.Fatal(err)
		}
		recs := drain(t, q)
		if len(recs) != len(got)+1 || recs[len(got)].Seq != seq || string(recs[len(got)].Data) != "after" {
			t.Fatalf("cut by %d: the record appended after recovery is not there", cut)
		}
		q.Close()
	}
}

// B27: pages of zeros, as some file systems leave them after a crash, anywhere.
func TestZeroedAnywhere(t *testing.T) {
	t.Parallel()
	d, h := damaged(t)
	for _, name := range append(d.segments(), "/q/cursor") {
		n := len(d.names[name].data)
		for _, size := range []int{1, 16, 64, 512, 4096, n} {
			for at := 0; at < n; at += max(size/2, 29) {
				e := d.killed()
				clear(e.names[name].data[at:min(at+size, n)])
				_, q := salvaged(t, e, h)
				if name == "/q/cursor" && q.Loss().Records > 0 {
					t.Fatalf("%d zeros at %d of the cursor cost %+v", size, at, q.Loss())
				}
				// At most the records that touch the zeros: 0, 100 and 700 bytes in turn.
				if most := uint64(size/(848/3)+3) + uint64(size/frameHeader)%2; size < 512 && q.Loss().Records > most {
					t.Fatalf("%d zeros at %d of %s cost %+v", size, at, name, q.Loss())
				}
				q.Close()
			}
		}
	}
}

// Random damage of every kind, several times over.
func TestSalvageFuzz(t *testing.T) {
	t.Parallel()
	d, h := damaged(t)
	names := d.segments()
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 7))
		e := d.killed()
		for range 1 + r.IntN(4) {
			ino := e.names[names[r.IntN(len(names))]]
			if len(ino.data) == 0 {
				continue
			}
			a, b := r.IntN(len(ino.data)), r.IntN(len(ino.data))
			switch r.IntN(4) {
			case 0:
				ino.data = ino.data[:a]
			case 1:
				copy(ino.data[a:], ino.data[b:]) // bytes of real records, in other places
			case 2:
				copy(ino.data[a:], e.names[names[0]].data)
			case 3:
				ino.data[a] ^= byte(1 + r.IntN(255))
			}
		}
		_, q := salvaged(t, e, h)
		q.Close()
	}
}

// A message that is itself a copy of segments must not be taken for records, even
// when the search for the next one after damage runs through it.
func TestPayloadOfRecords(t *testing.T) {
	t.Parallel()
	d, h := damaged(t)
	q, err := open("/q", Config{SegmentBytes: 16 << 10}, d)
	if err != nil {
		t.Fatal(err)
	}
	last := d.segments()[len(d.segments())-1]
	for _, m := range []uint64{0, mask(q.tail.salt, q.tail.off)} { // a record made up to fit
		seq := q.nextSeq.Load()
		fake := make([]byte, 100)
		putFrame(fake, m, seq, []byte("a record that nobody appended"))
		h.append(q, append(make([]byte, 64), fake...))
	}
	for i := range 5 {
		payload := slices.Clone(d.names[last].data[segmentHeader:])
		payload = append(make([]byte, i), payload[:min(len(payload), 2500)]...)
		h.append(q, payload)
		h.append(q, []byte("next"))
	}
	h.close(q)
	names := d.segments()
	name := names[len(names)-1]
	data := d.names[name].data
	for at := segmentHeader; at+frameHeader <= len(data); {
		size := int(binary.LittleEndian.Uint32(data[at+4:]))
		e := d.killed()
		e.names[name].data[at+4] ^= 0x55 // its length
		_, q := salvaged(t, e, h)
		if q.Loss().Records > 1 {
			t.Fatalf("%+v", q.Loss())
		}
		q.Close()
		at += size
	}
}

// G27, EIO: what the medium cannot read is lost, and nothing else.
func TestUnreadablePage(t *testing.T) {
	t.Parallel()
	d, h := damaged(t)
	for _, name := range d.segments() {
		for page := range (len(d.names[name].data) + pageSize - 1) / pageSize {
			e := &badSector{d.killed(), name, int64(page * pageSize)}
			q, err := open("/q", modelConfig, e)
			if err != nil {
				t.Fatal(err)
			}
			got := drain(t, q)
			if l := q.Loss(); len(got)+int(l.Records) != 27 || l.Records == 0 || l.Records > 20 {
				t.Fatalf("%d records, %+v", len(got), l)
			}
			for _, rec := range got {
				if string(rec.Data) != string(h.sent[rec.Seq]) {
					t.Fatalf("record %d", rec.Seq)
				}
			}
			q.Close()
		}
	}
}

// A badSector is a disk one page of which cannot be read.
type badSector struct {
	*modelDisk
	name string
	at   int64
}

type badSectorFile struct {
	file
	at int64
}

func (d *badSector) open(name string, flag int) (file, error) {
	f, err := d.modelDisk.open(name, flag)
	if name == d.name && flag == os.O_RDONLY {
		f = badSectorFile{f, d.at}
	}
	return f, err
}

func (f badSectorFile) ReadAt(b []byte, off int64) (int, error) {
	if off < f.at+pageSize && f.at < off+int64(len(b)) {
		n := max(0, f.at-off)
		m, _ := f.file.ReadAt(b[:n], off)
		return m, syscall.EIO
	}
	return f.file.ReadAt(b, off)
}

// The header of the segment that is written on is mended, so that what is appended
// can be told from another queue's even if the cursor is lost as well.
func TestHeaderIsMended(t *testing.T) {
	t.Parallel()
	d, h := damaged(t)
	names := d.segments()
	header := d.names[names[len(names)-1]].data[:segmentHeader]
	header[10] ^= 1
	_, q := salvaged(t, d, h)
	q.Close()
	seg, _ := parseSegmentName(filepath.Base(names[len(names)-1]))
	if id, intact := seg.ownerOf(header); !intact || id != q.id {
		t.Errorf("the header is % x", header)
	}
}

// A segment that is set aside replaces none that was set aside before.
func TestForeignTwice(t *testing.T) {
	t.Parallel()
	d, _ := damaged(t)
	name := d.segments()[1]
	seg, _ := parseSegmentName(filepath.Base(name))
	for n := range byte(3) {
		d.names[name] = &modelInode{data: append(seg.header(queueID{9, n}), n)}
		q, err := open("/q", modelConfig, d)
		if err != nil {
			t.Fatal(err)
		}
		if l := q.Loss(); l.Foreign != 1 {
			t.Errorf("%+v, want 1 foreign segment", l)
		}
		q.Close()
	}
	for n, suffix := range []string{".foreign", ".foreign2", ".foreign3"} {
		if ino := d.names[name+suffix]; ino == nil || ino.data[segmentHeader] != byte(n) {
			t.Errorf("no %s, or another one", suffix)
		}
	}
}

// B28, B29: files that are missing, empty, or another queue's.
func TestStrangeFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do      func(d *modelDisk, names []string)
		lost    uint64
		foreign int
	}{
		"first segment missing":  {func(d *modelDisk, n []string) { delete(d.names, n[0]) }, 11, 0},
		"middle segment missing": {func(d *modelDisk, n []string) { delete(d.names, n[1]) }, 12, 0},
		"last segment missing":   {func(d *modelDisk, n []string) { delete(d.names, n[len(n)-1]) }, 4, 0},
		"all segments missing":   {func(d *modelDisk, n []string) { delete(d.names, n[0]); delete(d.names, n[1]); delete(d.names, n[2]) }, 27, 0},
		"middle segment empty":   {func(d *modelDisk, n []string) { d.names[n[1]].data = d.names[n[1]].data[:0] }, 12, 0},
		"last segment empty":     {func(d *modelDisk, n []string) { d.names[n[2]].data = d.names[n[2]].data[:0] }, 4, 0},
		"cursor missing":         {func(d *modelDisk, n []string) { delete(d.names, "/q/cursor") }, 0, 0},
		"cursor empty":           {func(d *modelDisk, n []string) { d.names["/q/cursor"].data = d.names["/q/cursor"].data[:0] }, 0, 0},
		"segment renamed": {func(d *modelDisk, n []string) {
			d.names["/q/0000000000000002-0000000000000001.seg"] = d.names[n[1]]
			delete(d.names, n[1])
		}, 12, 1},
		"unrelated files": {func(d *modelDisk, n []string) {
			d.names["/q/README"] = &modelInode{data: []byte("hello")}
			d.names["/q/1-2.seg"] = &modelInode{data: []byte("hello")}
		}, 0, 0},
		"segment of another queue": {func(d *modelDisk, n []string) {
			seg, _ := parseSegmentName(filepath.Base(n[1]))
			d.names[n[1]].data = append(seg.header(queueID{9}), d.names[n[1]].data[segmentHeader:]...)
		}, 12, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, h := damaged(t)
			names := d.segments()
			if len(names) != 3 {
				t.Fatal(names)
			}
			tc.do(d, names)
			if strings.HasPrefix(name, "cursor") {
				h.acked = map[uint64]bool{} // what was acknowledged is not known any more
			}
			_, q := salvaged(t, d, h)
			if l := q.Loss(); l.Records != tc.lost || l.Foreign != tc.foreign {
				t.Errorf("%+v, want %d records and %d foreign segments", l, tc.lost, tc.foreign)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			after := newHistory() // nothing is owed, but nothing may be wrong
			after.sent = h.sent
			reopened(t, d, after, true)
		})
	}
}
