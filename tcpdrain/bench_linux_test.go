// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func cpuTime() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// backlog returns a connection whose receive buffer holds n bytes.
func backlog(tb testing.TB, n int) *net.TCPConn {
	tb.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4*n)
		}); e != nil {
			return e
		}
		return err
	}}
	ln, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Skipf("a receive buffer of %d bytes: %v", 4*n, err)
	}
	defer ln.Close()
	local, peer := connect(tb, ln.(*net.TCPListener))
	peer.SetWriteDeadline(time.Now().Add(30 * time.Second))
	if _, err := peer.Write(pattern(n)); err != nil {
		tb.Fatal(err)
	}
	awaitPending(tb, local, n)
	return local
}

// BenchmarkBacklog takes 16 MiB that the kernel already has.
func BenchmarkBacklog(b *testing.B) {
	const size = 16 << 20
	impls := readers
	impls = append(impls[:len(impls):len(impls)], struct {
		name string
		make func(b *testing.B, conn net.Conn) func(n int64)
	}{"impl=Read1K", func(b *testing.B, conn net.Conn) func(int64) { return readLoop(b, conn, 1<<10) }})
	for _, impl := range impls {
		b.Run(impl.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				b.StopTimer()
				conn := backlog(b, size)
				var take func(int64)
				if impl.name != "impl=Pump" { // which begins at once
					take = impl.make(b, conn)
				}
				b.StartTimer()
				if take == nil {
					take = impl.make(b, conn)
				}
				take(size)
			}
		})
	}
}
