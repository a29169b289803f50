// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkFairness has 1,000 connections of which each sends a message now and
// then, and reports how long the 99th percentile of messages takes to be answered,
// alone and beside one connection that another process never lets be empty; and the
// same for servers that Read.
func BenchmarkFairness(b *testing.B) {
	const conns = 1000
	for _, impl := range []string{"Read", "Pump"} {
		for _, firehose := range []string{"no", "yes"} {
			b.Run("impl="+impl+"/firehose="+firehose, func(b *testing.B) {
				serve := func(local *net.TCPConn, loop func(net.Conn)) {
					conn := net.Conn(local)
					if impl == "Pump" {
						conn = must(NewPump(local, Config{}))
					}
					b.Cleanup(func() { conn.Close() })
					go loop(conn)
				}
				peers := make([]net.Conn, conns)
				for i := range peers {
					local, peer := tcpPair(b)
					peers[i] = peer
					serve(local, func(conn net.Conn) {
						for buf := make([]byte, 64); ; {
							n, err := conn.Read(buf)
							if err != nil {
								return
							}
							conn.Write(buf[:n])
						}
					})
				}
				if firehose == "yes" {
					serve(firehoseProcess(b), func(conn net.Conn) {
						if p, ok := conn.(*Pump); ok {
							p.WriteTo(io.Discard)
						}
						for buf := make([]byte, 64<<10); ; {
							if _, err := conn.Read(buf); err != nil {
								return
							}
						}
					})
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
}

// firehoseProcess returns a connection that another process saturates.
func firehoseProcess(b *testing.B) *net.TCPConn {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	cmd := exec.Command(must(os.Executable()))
	cmd.Env = append(os.Environ(), helperEnv+"=firehose", "TCPDRAIN_ADDR="+ln.Addr().String())
	check(b, cmd.Start())
	conn := must(ln.(*net.TCPListener).AcceptTCP())
	b.Cleanup(func() { conn.Close(); cmd.Wait() })
	return conn
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
