// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var wraps = []struct {
	name string
	wrap func(conn net.Conn) net.Conn
}{
	{"Read", func(conn net.Conn) net.Conn { return conn }},
	{"Pump", func(conn net.Conn) net.Conn { return must(NewPump(conn, Config{})) }},
}

// BenchmarkFairness has 1,000 connections of which each sends a message now and
// then, and reports the 99th percentile of the time until it is answered, without and
// beside one connection that another process never lets be empty, and what came
// through that one: for servers that Read, and for Pumps. An iteration measures all
// four, and the medians are reported: give it -benchtime=7x, and -cpu=1,2.
func BenchmarkFairness(b *testing.B) {
	peers := make([][]net.Conn, len(wraps))
	for i, impl := range wraps {
		for range 1000 {
			local, peer := tcpPair(b)
			conn := impl.wrap(local)
			b.Cleanup(func() { conn.Close() })
			go echo(conn)
			peers[i] = append(peers[i], peer)
		}
	}
	var m medians
	for b.Loop() {
		for i, impl := range wraps {
			quiet := p99(b, peers[i])
			fire := newFirehose(b, impl.wrap)
			beside := p99(b, peers[i])
			m.add(impl.name+"-GB/s", fire.stop()/1e9)
			m.add(impl.name+"-quiet-µs", quiet)
			m.add(impl.name+"-beside-µs", beside)
			m.add(impl.name+"-ratio", beside/quiet)
		}
	}
	m.report(b)
}

// BenchmarkBusy reports what a goroutine that does nothing but Read, and a Pump, take
// in while other goroutines keep every processor busy.
func BenchmarkBusy(b *testing.B) {
	var stop atomic.Bool
	defer stop.Store(true)
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	var m medians
	for b.Loop() {
		for _, impl := range wraps {
			fire := newFirehose(b, impl.wrap)
			time.Sleep(time.Second)
			m.add(impl.name+"-MB/s", fire.stop()/1e6)
		}
	}
	m.report(b)
}

func echo(conn net.Conn) {
	for buf := make([]byte, 64); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		conn.Write(buf[:n])
	}
}

// A firehose is a connection that another process saturates and this one discards.
type firehose struct {
	conn  net.Conn
	cmd   *exec.Cmd
	bytes atomic.Int64
	start time.Time
	done  chan struct{}
}

func newFirehose(tb testing.TB, wrap func(net.Conn) net.Conn) *firehose {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	f := &firehose{cmd: exec.Command(must(os.Executable())), done: make(chan struct{})}
	f.cmd.Env = append(os.Environ(), helperEnv+"=firehose", "TCPDRAIN_ADDR="+ln.Addr().String())
	check(tb, f.cmd.Start())
	f.conn = wrap(must(ln.Accept()))
	go func() {
		defer close(f.done)
		io.CopyBuffer(struct{ io.Writer }{writerFunc(func(b []byte) (int, error) {
			f.bytes.Add(int64(len(b)))
			return len(b), nil
		})}, f.reader(), make([]byte, 64<<10))
	}()
	time.Sleep(100 * time.Millisecond) // for the window to grow
	f.bytes.Store(0)
	f.start = time.Now()
	return f
}

// reader hides the WriteTo of a TCPConn, which is not what is measured.
func (f *firehose) reader() io.Reader {
	if p, ok := f.conn.(*Pump); ok {
		return p
	}
	return struct{ io.Reader }{f.conn}
}

// stop returns what came through per second.
func (f *firehose) stop() float64 {
	rate := float64(f.bytes.Load()) / time.Since(f.start).Seconds()
	f.conn.Close()
	f.cmd.Wait()
	<-f.done
	return rate
}

// p99 has a message sent on each of peers a few times, two milliseconds after the
// other in each of 16 groups, and returns how many microseconds the answers took.
func p99(b *testing.B, peers []net.Conn) float64 {
	const times = 6
	took := make([]time.Duration, times*len(peers))
	group := (len(peers) + 15) / 16
	var wg sync.WaitGroup
	for first := 0; first < len(peers); first += group {
		wg.Go(func() {
			var buf [64]byte
			for i := range took[:times*group] {
				peer := first + i%group
				if peer >= len(peers) {
					continue
				}
				time.Sleep(2 * time.Millisecond)
				start := time.Now()
				peers[peer].Write(buf[:])
				if _, err := io.ReadFull(peers[peer], buf[:]); err != nil {
					b.Error(err)
					return
				}
				took[i/group*len(peers)+peer] = time.Since(start)
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return float64(took[len(took)*99/100].Nanoseconds()) / 1e3
}

// medians collects figures by unit.
type medians map[string][]float64

func (m *medians) add(unit string, v float64) {
	if *m == nil {
		*m = medians{}
	}
	(*m)[unit] = append((*m)[unit], v)
}

func (m medians) report(b *testing.B) {
	for unit, values := range m {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
	b.ReportMetric(0, "ns/op")
}
