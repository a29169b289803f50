// SPDX-License-Identifier: MIT

package sockowner

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkLookup is among 8,000 loopback sockets (4,000 with -short or a low limit of
// descriptors): ours, and the same question to /proc/net/tcp.
func BenchmarkLookup(b *testing.B) {
	conns := 4000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || testing.Short() || limit.Cur < 2*4000+200 {
		conns = min(2000, int(limit.Cur)/3)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	servers := make([]*net.TCPConn, conns)
	for i := range servers {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		servers[i] = server.(*net.TCPConn)
		defer func() { servers[i].SetLinger(0); servers[i].Close() }()
	}
	question := func(i int) tuple {
		local, remote := end(servers[i%conns])
		return tuple{plain(remote), plain(local)}
	}
	b.Run("impl=ours", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := Peer(servers[i%conns]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("impl=proc", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if found, err := kernel.proc(question(i)); err != nil || len(found) == 0 {
				b.Fatal(found, err)
			}
		}
	})
	nobody := netip.MustParseAddrPort("127.0.0.9:9")
	b.Run("found=no/impl=ours", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := Lookup(nobody, question(i).remote); !errors.Is(err, ErrNotFound) {
				b.Fatal(err)
			}
		}
	})
	b.Run("found=no/impl=proc", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if found, err := kernel.proc(tuple{nobody, question(i).remote}); err != nil || len(found) != 0 {
				b.Fatal(found, err)
			}
		}
	})
}
