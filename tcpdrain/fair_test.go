// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkFairness has 1,000 connections of which each sends a message now and
// then, and reports how long the 99th percentile of messages takes to be answered,
// alone and beside one connection that is never empty; and the same for servers
// that Read.
func BenchmarkFairness(b *testing.B) {
	const conns = 1000
	read := func(conn net.Conn) net.Conn { return conn }
	pump := func(budget int) func(net.Conn) net.Conn {
		return func(conn net.Conn) net.Conn { return must(NewPump(conn, Config{Budget: budget})) }
	}
	for _, bm := range []struct {
		name     string
		wrap     func(net.Conn) net.Conn
		firehose bool
	}{
		{"impl=Read/firehose=no", read, false},
		{"impl=Read/firehose=yes", read, true},
		{"impl=Pump/firehose=no", pump(0), false},
		{"impl=Pump/firehose=yes", pump(0), true},
		{"impl=Pump256/firehose=yes", pump(256 << 10), true},
		{"impl=Pump64/firehose=yes", pump(64 << 10), true},
	} {
		b.Run(bm.name, func(b *testing.B) {
			serve := func(loop func(net.Conn)) net.Conn {
				local, peer := tcpPair(b)
				conn := bm.wrap(local)
				b.Cleanup(func() { conn.Close() })
				go loop(conn)
				return peer
			}
			peers := make([]net.Conn, conns)
			for i := range peers {
				peers[i] = serve(func(conn net.Conn) {
					for buf := make([]byte, 64); ; {
						n, err := conn.Read(buf)
						if err != nil {
							return
						}
						conn.Write(buf[:n])
					}
				})
			}
			if bm.firehose {
				saturate(serve(func(conn net.Conn) {
					for buf := make([]byte, 64<<10); ; {
						if _, err := conn.Read(buf); err != nil {
							return
						}
					}
				}))
			}
			var took []time.Duration
			for b.Loop() {
				took = append(took, askAll(b, peers)...)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// askAll sends a message on each of peers, two milliseconds after the other in each
// of 16 groups, and returns how long the answers took.
func askAll(b *testing.B, peers []net.Conn) []time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for group := range slices.Chunk(peers, (len(peers)+15)/16) {
		wg.Go(func() {
			var buf [64]byte
			for _, peer := range group {
				time.Sleep(2 * time.Millisecond)
				start := time.Now()
				peer.Write(buf[:])
				if _, err := io.ReadFull(peer, buf[:]); err != nil {
					b.Error(err)
					return
				}
				took := time.Since(start)
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}
