// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"encoding/json"
	"io"
	"iter"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"
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

// A reader is a way to take at least n bytes from a connection.
type reader struct {
	name string
	make func(b *testing.B, conn net.Conn) func(n int64)
}

var readers = []reader{
	{"Read", func(b *testing.B, conn net.Conn) func(int64) { return readLoop(b, conn, 64<<10) }},
	{"Drain", func(b *testing.B, conn net.Conn) func(int64) {
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
	{"Pump", func(b *testing.B, conn net.Conn) func(int64) {
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

// byTurns yields 0 to n-1, beginning with another one each round: coming first, after a
// pause, is worth a tenth.
func byTurns(round, n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield((i + round) % n) {
				return
			}
		}
	}
}

// BenchmarkStream takes a saturating stream over loopback by turns in each way, and
// with iperf3 where that is installed. It reports the medians of what came through,
// of what both ends together spent on it, and of the ratios to Read in the same round:
// give it -benchtime=15x.
func BenchmarkStream(b *testing.B) {
	const size = 256 << 20
	take := make([]func(int64), len(readers))
	for i, impl := range readers {
		local, peer := tcpPair(b)
		take[i] = impl.make(b, local)
		saturate(peer)
		take[i](64 << 20)
	}
	var m medians
	for round := 0; b.Loop(); round++ {
		took, spent := make([]float64, len(readers)), make([]float64, len(readers))
		for i := range byTurns(round, len(readers)) {
			take[i](16 << 20) // what has piled up meanwhile, and into the cache
			cpu, start := cpuTime(), time.Now()
			take[i](size)
			took[i], spent[i] = time.Since(start).Seconds(), (cpuTime() - cpu).Seconds()
		}
		for i, impl := range readers {
			m.add(impl.name+"-GB/s", size/1e9/took[i])
			m.add(impl.name+"-cpu-s/GB", spent[i]/(size/1e9))
			m.add(impl.name+"-×Read", took[0]/took[i])
			m.add(impl.name+"-×Read-per-cpu", spent[0]/spent[i])
		}
		if rate, ok := iperf3(b); ok {
			m.add("iperf3-GB/s", rate)
			m.add("iperf3-×Read", rate/(size/1e9/took[0]))
		}
	}
	m.report(b)
}

// iperf3 returns how many GB/s iperf3 receives, if it is installed.
func iperf3(b *testing.B) (rate float64, ok bool) {
	path, err := exec.LookPath("iperf3")
	if err != nil {
		return 0, false
	}
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	ln.Close()
	server := exec.Command(path, "-s", "-1", "-p", port)
	check(b, server.Start())
	defer server.Wait()
	var result struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	for range 100 { // until the server listens
		out, _ := exec.Command(path, "-c", "127.0.0.1", "-p", port, "-n", "512M", "-l", "256K", "-J").Output()
		if err := json.Unmarshal(out, &result); err == nil && result.End.Received.Bits > 0 {
			return result.End.Received.Bits / 8e9, true
		}
		time.Sleep(10 * time.Millisecond)
	}
	server.Process.Kill()
	return 0, false
}

// BenchmarkConsumer compares what a Pump lets through to callers of different grain,
// by turns on one stream each.
func BenchmarkConsumer(b *testing.B) {
	const size = 64 << 20
	var buf [100]byte
	batches := func(p *Pump, use func([]byte)) func(int64) {
		return func(n int64) {
			for n > 0 {
				batch, err := p.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				n -= int64(len(batch))
				use(batch)
			}
		}
	}
	impls := []struct {
		name string
		make func(p *Pump) func(int64)
	}{
		{"Next", func(p *Pump) func(int64) { return batches(p, func([]byte) {}) }},
		{"Next-copied", func(p *Pump) func(int64) {
			return batches(p, func(batch []byte) {
				for len(batch) > 0 {
					batch = batch[copy(buf[:], batch):]
				}
			})
		}},
		{"Read100", func(p *Pump) func(int64) { return readLoop(b, p, len(buf)) }},
	}
	take := make([]func(int64), len(impls))
	for i, impl := range impls {
		local, peer := tcpPair(b)
		p := must(NewPump(local, Config{}))
		defer p.Close()
		take[i] = impl.make(p)
		saturate(peer)
		take[i](64 << 20)
	}
	var m medians
	for round := 0; b.Loop(); round++ {
		took := make([]float64, len(impls))
		for i := range byTurns(round, len(impls)) {
			take[i](16 << 20)
			start := time.Now()
			take[i](size)
			took[i] = time.Since(start).Seconds()
		}
		for i, impl := range impls {
			m.add(impl.name+"-GB/s", size/1e9/took[i])
			m.add(impl.name+"-×Next", took[0]/took[i])
		}
	}
	m.report(b)
}

// BenchmarkPingPong sends 64 bytes and waits for 64 from an echo, by turns in each
// way, and reports the medians of how long a round trip takes.
func BenchmarkPingPong(b *testing.B) {
	const times = 2000
	var msg [64]byte
	conns := make([]net.Conn, len(readers))
	take := make([]func(int64), len(readers))
	for i, impl := range readers {
		local, peer := tcpPair(b)
		go echo(peer)
		conns[i], take[i] = local, impl.make(b, local)
	}
	var m medians
	for round := 0; b.Loop(); round++ {
		took := make([]float64, len(readers))
		for i := range byTurns(round, len(readers)) {
			start := time.Now()
			for range times {
				conns[i].Write(msg[:])
				take[i](int64(len(msg)))
			}
			took[i] = time.Since(start).Seconds()
		}
		for i, impl := range readers {
			m.add(impl.name+"-µs", took[i]/times*1e6)
			m.add(impl.name+"-×Read", took[i]/took[0])
		}
	}
	m.report(b)
}
