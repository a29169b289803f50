// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"io"
	"net"
	"testing"
)

// saturate writes to conn until that fails, from another goroutine.
func saturate(conn net.Conn) {
	go func() {
		b := make([]byte, 256<<10)
		for {
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	}()
}

// readers are the ways to take at least n bytes from a connection.
var readers = []struct {
	name string
	make func(b *testing.B, conn net.Conn) func(n int64)
}{
	{"impl=Read", func(b *testing.B, conn net.Conn) func(int64) { return readLoop(b, conn, 64<<10) }},
	{"impl=Drain", func(b *testing.B, conn net.Conn) func(int64) {
		r := must(NewReader(conn, Config{}))
		buf := make([]byte, 1<<20+64<<10)
		clear(buf) // so that no page fault is measured
		return func(n int64) {
			for n > 0 {
				var err error
				if buf, _, err = r.Drain(buf[:0]); err != nil {
					b.Fatal(err)
				}
				n -= int64(len(buf))
			}
		}
	}},
	{"impl=Pump", func(b *testing.B, conn net.Conn) func(int64) {
		p := must(NewPump(conn, Config{}))
		b.Cleanup(func() { p.Close() })
		return func(n int64) {
			for n > 0 {
				batch, err := p.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				n -= int64(len(batch))
			}
		}
	}},
}

func readLoop(b *testing.B, r io.Reader, size int) func(int64) {
	buf := make([]byte, size)
	return func(n int64) {
		for n > 0 {
			k, err := r.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			n -= int64(k)
		}
	}
}

// BenchmarkStream takes a saturating stream over loopback, and reports what both
// ends together spent on it.
func BenchmarkStream(b *testing.B) {
	for _, impl := range readers {
		b.Run(impl.name, func(b *testing.B) {
			local, peer := tcpPair(b)
			take := impl.make(b, local)
			saturate(peer)
			take(64 << 20)
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			before := cpuTime()
			b.ResetTimer()
			take(int64(b.N) << 20)
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-before)/1e9/(float64(b.N)*(1<<20)/1e9), "cpu-s/GB")
		})
	}
}

// BenchmarkConsumer compares what a Pump lets through to callers of different grain.
func BenchmarkConsumer(b *testing.B) {
	for _, impl := range []struct {
		name string
		take func(b *testing.B, p *Pump) func(int64)
	}{
		{"impl=Next", func(b *testing.B, p *Pump) func(int64) {
			return func(n int64) {
				for n > 0 {
					batch, err := p.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					n -= int64(len(batch))
				}
			}
		}},
		{"impl=Next_copied", func(b *testing.B, p *Pump) func(int64) {
			var buf [100]byte
			return func(n int64) {
				for n > 0 {
					batch, err := p.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					n -= int64(len(batch))
					for len(batch) > 0 {
						batch = batch[copy(buf[:], batch):]
					}
				}
			}
		}},
		{"impl=Read100", func(b *testing.B, p *Pump) func(int64) { return readLoop(b, p, 100) }},
	} {
		b.Run(impl.name, func(b *testing.B) {
			local, peer := tcpPair(b)
			p := must(NewPump(local, Config{}))
			defer p.Close()
			take := impl.take(b, p)
			saturate(peer)
			take(64 << 20)
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			b.ResetTimer()
			take(int64(b.N) << 20)
		})
	}
}

// BenchmarkPingPong sends 64 bytes and waits for 64 from an echo.
func BenchmarkPingPong(b *testing.B) {
	for _, impl := range readers {
		b.Run(impl.name, func(b *testing.B) {
			local, peer := tcpPair(b)
			go func() {
				var buf [64]byte
				for {
					if _, err := io.ReadFull(peer, buf[:]); err != nil {
						return
					}
					peer.Write(buf[:])
				}
			}()
			take := impl.make(b, local)
			var msg [64]byte
			b.ReportAllocs()
			for b.Loop() {
				local.Write(msg[:])
				take(64)
			}
		})
	}
}
