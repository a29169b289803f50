// SPDX-License-Identifier: MIT

package sockowner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pair is one connection, both ends in this process.
type pair struct{ client, server *net.TCPConn }

// connect makes a pair over a listener at addr; the client is made by dial, or by a
// plain net.Dial. The server's receive buffer is small, so that what a test leaves
// unread keeps the client's FIN from being sent: FIN_WAIT1 as long as one likes.
func connect(t testing.TB, network, addr string, dial func(addr string) (net.Conn, error)) pair {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
	}}
	l, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		t.Skipf("listening on %s %s: %v", network, addr, err)
	}
	defer l.Close()
	if dial == nil {
		dial = func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }
	}
	client, err := dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// A reset at the end, to leave no TIME_WAIT behind.
	t.Cleanup(func() { server.(*net.TCPConn).SetLinger(0); server.Close() })
	return pair{client.(*net.TCPConn), server.(*net.TCPConn)}
}

// inode is the inode of conn's own socket: what a lookup of its end must say.
func inode(t testing.TB, conn syscall.Conn) uint64 {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := errors.Join(raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }), err); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// end is conn's own end, as Lookup wants it.
func end(conn *net.TCPConn) (local, remote netip.AddrPort) {
	return conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
}

// A way is one of the two ways to the answer.
type way struct {
	name string
	find func(q tuple, device uint32) ([]entry, error)
}

func ways() []way {
	return []way{
		{"netlink", kernel.diag},
		{"proc", func(q tuple, _ uint32) ([]entry, error) { return kernel.proc(q) }},
	}
}

// ask is Lookup by that way alone.
func (w way) ask(local, remote netip.AddrPort) (Owner, error) {
	q, zone, err := newTuple(local, remote)
	if err != nil {
		return Owner{}, err
	}
	device, err := kernel.index(zone)
	if err != nil {
		return Owner{}, err
	}
	found, err := w.find(q, device)
	if err != nil {
		return Owner{}, err
	}
	return settle(found)
}

// owns checks that both ways say that owner uid holds socket ino.
func owns(t *testing.T, local, remote netip.AddrPort, uid uint32, ino uint64) {
	t.Helper()
	for _, w := range ways() {
		o, err := w.ask(local, remote)
		if err != nil || o.UID != uid || o.Inode != ino {
			t.Errorf("%s: owner of %v to %v = %+v, %v, want uid %d, inode %d", w.name, local, remote, o, err, uid, ino)
		}
	}
}

// asUser runs fn with the file system identity of uid, whose sockets are then uid's:
// on a thread that ends with it, so that nothing of the identity is left behind.
func asUser(uid int, fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		unix.Setfsuid(uid)
		if now, _ := unix.SetfsuidRetUid(-1); now != uid {
			result <- fmt.Errorf("file system uid is %d, want %d", now, uid)
			return
		}
		result <- fn()
	}()
	return <-result
}

// dialAs is net.Dial by another user.
func dialAs(uid int) func(addr string) (net.Conn, error) {
	return func(addr string) (conn net.Conn, err error) {
		err = asUser(uid, func() (err error) {
			conn, err = net.Dial("tcp", addr)
			return err
		})
		return conn, err
	}
}

func needRoot(t *testing.T, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: " + why)
	}
}

// until waits for ok, as long as the kernel may take to change a state.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never saw %s", what)
}

// fill leaves more in conn than its peer's receive buffer takes.
func fill(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	conn.SetWriteBuffer(256 << 10)
	conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
}
