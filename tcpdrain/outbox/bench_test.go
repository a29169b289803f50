// SPDX-License-Identifier: MIT

package outbox

import (
	"bufio"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// The benchmarks put 128-byte records through the queue, and beside it through the
// floor: a buffered writer with a checksum, which loses what it buffers when the
// process dies. Set TMPDIR to choose the file system. The figures that matter are
// the ratios within one run.

const benchRecord = 128

// floorWriter is what nobody can beat with write(2): 8 bytes of header, 256 KiB a call.
type floorWriter struct {
	f *os.File
	w *bufio.Writer
}

func newFloor(b *testing.B) *floorWriter {
	f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return &floorWriter{f, bufio.NewWriterSize(f, 256<<10)}
}

func (w *floorWriter) append(msg []byte) error {
	var h [8]byte
	binary.LittleEndian.PutUint32(h[:], uint32(len(msg)))
	binary.LittleEndian.PutUint32(h[4:], crc32.Update(0, castagnoli, msg))
	w.w.Write(h[:])
	_, err := w.w.Write(msg)
	return err
}

func (w *floorWriter) sync() error {
	if err := w.w.Flush(); err != nil {
		return err
	}
	return (&osFile{File: w.f}).sync()
}

func report(b *testing.B, n int) { b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mrec/s") }

// writesOnly makes a disk without shared memory, as on other platforms.
type writesOnly struct{ osDisk }

type writesOnlyFile struct{ file }

func (d writesOnly) open(name string, flag int) (file, error) {
	f, err := d.osDisk.open(name, flag)
	return writesOnlyFile{f}, err
}

func (writesOnlyFile) shared(int64, int) ([]byte, error) { return nil, io.ErrNoProgress }

func benchAppend(b *testing.B, d disk, cfg Config) {
	q, err := open(b.TempDir(), cfg, d)
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	msg := message(1, benchRecord)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := q.Append(msg); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	report(b, b.N)
}

func benchFloor(b *testing.B, every int) {
	w := newFloor(b)
	msg := message(1, benchRecord)
	b.ResetTimer()
	for i := range b.N {
		err := w.append(msg)
		if every > 0 && i%every == every-1 {
			err = w.sync()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	report(b, b.N)
}

func BenchmarkAppend(b *testing.B) {
	b.Run("sync=never/impl=floor", func(b *testing.B) { benchFloor(b, 0) })
	b.Run("sync=never/impl=outbox", func(b *testing.B) { benchAppend(b, osDisk{}, Config{Sync: Never}) })
	// Like the floor, without the fsync that completes each segment of 64 MiB.
	b.Run("sync=never/impl=outbox-1GiB", func(b *testing.B) { benchAppend(b, osDisk{}, Config{Sync: Never, SegmentBytes: 1 << 30}) })
	b.Run("sync=never/impl=write", func(b *testing.B) { benchAppend(b, writesOnly{}, Config{Sync: Never}) })
	b.Run("sync=2500/impl=floor", func(b *testing.B) { benchFloor(b, 2500) })
	b.Run("sync=2500/impl=outbox", func(b *testing.B) { benchAppend(b, osDisk{}, Config{Sync: Every{Records: 2500}}) })
	b.Run("sync=2500/impl=write", func(b *testing.B) { benchAppend(b, writesOnly{}, Config{Sync: Every{Records: 2500}}) })
}

func BenchmarkAlways(b *testing.B) {
	for _, bc := range []struct {
		name      string
		appenders int
	}{{"appenders=1", 1}, {"appenders=64", 64}} {
		b.Run(bc.name, func(b *testing.B) {
			q := mustOpen(b, b.TempDir(), Config{Sync: Always})
			msg := message(1, benchRecord)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range bc.appenders {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := q.Append(msg); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			report(b, b.N)
		})
	}
}

func BenchmarkNext(b *testing.B) {
	const n = 500_000
	b.Run("impl=floor", func(b *testing.B) {
		w := newFloor(b)
		msg := message(1, benchRecord)
		for range n {
			w.append(msg)
		}
		w.sync()
		b.ResetTimer()
		for i := 0; i < b.N; i += n {
			r := bufio.NewReaderSize(io.NewSectionReader(w.f, 0, 1<<62), 256<<10)
			var h [8]byte
			for range n {
				if _, err := io.ReadFull(r, h[:]); err != nil {
					b.Fatal(err)
				}
				buf := make([]byte, binary.LittleEndian.Uint32(h[:]))
				if _, err := io.ReadFull(r, buf); err != nil || crc32.Update(0, castagnoli, buf) != binary.LittleEndian.Uint32(h[4:]) {
					b.Fatal(err)
				}
			}
		}
		b.StopTimer()
		report(b, (b.N+n-1)/n*n)
	})
	for _, ack := range []bool{false, true} {
		name := "impl=outbox"
		if ack {
			name = "impl=outbox-ack"
		}
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			q := mustOpen(b, dir, Config{Sync: Never})
			msg := message(1, benchRecord)
			ctx := context.Background()
			b.ReportAllocs()
			for i := 0; i < b.N; i += n {
				b.StopTimer()
				if ack || i == 0 {
					for range n {
						mustAppend(b, q, msg)
					}
				}
				q.Rewind()
				b.StartTimer()
				for range n {
					rec, err := q.Next(ctx)
					if err != nil {
						b.Fatal(err)
					}
					if ack {
						if err := q.Ack(rec.Seq); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			b.StopTimer()
			report(b, (b.N+n-1)/n*n)
		})
	}
}
