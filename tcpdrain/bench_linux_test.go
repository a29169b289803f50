// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"fmt"
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
	peer.SetWriteDeadline(time.Now().Add(patience))
	if _, err := peer.Write(pattern(n)); err != nil {
		tb.Fatal(err)
	}
	awaitPending(tb, local, n)
	return local
}

// BenchmarkBacklog takes what the kernel already has by turns in each way, and reports
// the medians of the speed and of its ratio to reads of 1 KiB. The floor is to have
// the kernel discard it, which copies nothing.
func BenchmarkBacklog(b *testing.B) {
	impls := append([]reader{
		{"Read1K", func(b *testing.B, conn net.Conn) func(int64) { return readLoop(b, conn, 1<<10) }},
		{"Read10", func(b *testing.B, conn net.Conn) func(int64) { return readLoop(b, conn, 10) }},
		{"floor", func(b *testing.B, conn net.Conn) func(int64) {
			return readLoop(b, discarder{conn.(*net.TCPConn)}, 64<<10)
		}},
	}, readers...)
	for _, size := range []int{16 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("MiB=%d", size>>20), func(b *testing.B) {
			var m medians
			for round := 0; b.Loop(); round++ {
				took := make([]float64, len(impls))
				for i := range byTurns(round, len(impls)) {
					impl := impls[i]
					if impl.name == "Read10" && len(m["Read10-GB/s"]) == 2 {
						continue // it takes longer than all others together
					}
					conn := backlog(b, size)
					var take func(int64)
					if impl.name != "Pump" { // which begins at once
						take = impl.make(b, conn)
					}
					start := time.Now()
					if take == nil {
						take = impl.make(b, conn)
					}
					take(int64(size))
					took[i] = time.Since(start).Seconds()
					conn.Close()
				}
				for i, impl := range impls {
					if took[i] > 0 {
						m.add(impl.name+"-GB/s", float64(size)/1e9/took[i])
						m.add(impl.name+"-×Read1K", took[0]/took[i])
					}
				}
			}
			m.report(b)
		})
	}
}

type discarder struct{ *net.TCPConn }

func (d discarder) Read(b []byte) (n int, err error) {
	raw, err := d.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), b, unix.MSG_TRUNC)
		return err != unix.EAGAIN
	}); e != nil {
		return 0, e
	}
	return n, err
}
