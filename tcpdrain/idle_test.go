// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"context"
	"net"
	"runtime"
	"testing"
)

// An idleImpl starts to wait on a connection that nothing comes on, and returns
// without waiting itself.
var idleImpls = []struct {
	name string
	wait func(conn net.Conn)
}{
	{"impl=Read64K", func(conn net.Conn) {
		go func() { conn.Read(make([]byte, 64<<10)) }()
	}},
	{"impl=Drain", func(conn net.Conn) {
		r := must(NewReader(conn, Config{}))
		go r.Drain(nil)
	}},
	{"impl=Pump", func(conn net.Conn) { must(NewPump(conn, Config{})) }},
	{"impl=Pump.Next", func(conn net.Conn) {
		p := must(NewPump(conn, Config{}))
		go p.Next(context.Background())
	}},
}

// idleCost returns the heap and stack that waiting on one of n connections takes.
func idleCost(tb testing.TB, n int, wait func(net.Conn)) int64 {
	tb.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i], _ = tcpPair(tb)
	}
	before := memory()
	for _, c := range conns {
		wait(c)
	}
	cost := (memory() - before) / int64(n)
	for _, c := range conns {
		c.Close()
	}
	return cost
}

func memory() int64 {
	for range 3 { // a sync.Pool takes two to forget
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// G20: a connection that waits holds no buffer: neither on the heap, nor, as the
// buffer of a goroutine's own can end up, on its stack.
func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not ours")
	}
	for _, impl := range idleImpls[1:] {
		if cost := idleCost(t, 300, impl.wait); cost > 16<<10 {
			t.Errorf("%s: %d bytes", impl.name, cost)
		}
	}
}

// BenchmarkIdle reports the heap and stack for a connection that waits, beside
// those of the connection itself.
func BenchmarkIdle(b *testing.B) {
	for _, impl := range idleImpls {
		b.Run(impl.name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(float64(idleCost(b, 2000, impl.wait)), "B/conn")
			}
		})
	}
}
