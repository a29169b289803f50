// SPDX-License-Identifier: MIT

package identd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/sockowner"
)

// serve runs s until the end of the test, and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return l.Addr().String()
}

// talk sends text, half-closes, and returns everything that comes back.
func talk(t *testing.T, addr, text string) string {
	t.Helper()
	conn := dialTest(t, addr)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	reply, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("after %q: %v", reply, err)
	}
	return string(reply)
}

func dialTest(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// byPort finds as many owners and errors as there are ports on the server.
func byPort(local, remote netip.AddrPort) (sockowner.Owner, error) {
	if a := netip.MustParseAddr("127.0.0.1"); local.Addr() != a || remote.Addr() != a {
		return sockowner.Owner{UID: sockowner.NoUID}, fmt.Errorf("asked about %v and %v", local, remote)
	}
	switch local.Port() {
	case 1:
		return sockowner.Owner{UID: sockowner.NoUID}, fmt.Errorf("wrapped: %w", sockowner.ErrNotFound)
	case 2:
		return sockowner.Owner{UID: sockowner.NoUID, State: sockowner.TimeWait}, fmt.Errorf("wrapped: %w", sockowner.ErrNoOwner)
	case 3:
		return sockowner.Owner{UID: sockowner.NoUID}, sockowner.ErrAmbiguous
	case 4:
		return sockowner.Owner{UID: sockowner.NoUID}, errors.New("netlink is denied : ERROR\r\n")
	}
	return sockowner.Owner{UID: uint32(local.Port()), Inode: 1, State: sockowner.FinWait1}, nil
}

func named(uid uint32) string {
	return map[uint32]string{6193: "stjohns", 10: "hide me", 11: "crlf\r\nroot", 12: strings.Repeat("x", 513), 13: "jürgen", 14: "shy"}[uid]
}

func TestReplies(t *testing.T) {
	t.Parallel()
	addr := serve(t, &Server{Lookup: byPort, Name: named, Hidden: map[string]bool{"shy": true, "15": true}})
	for query, want := range map[string]string{
		"6193, 23\r\n":                         "6193, 23 : USERID : UNIX : stjohns\r\n", // the RFC's own example
		"6193,23\r\n":                          "6193, 23 : USERID : UNIX : stjohns\r\n",
		" \t 6193\t ,\t23  \t\r\n":             "6193, 23 : USERID : UNIX : stjohns\r\n",
		"6193, 23\n":                           "6193, 23 : USERID : UNIX : stjohns\r\n",
		"6193, 23":                             "6193, 23 : USERID : UNIX : stjohns\r\n", // half-closed without an end of line
		"06193, 00023\r\n":                     "06193, 00023 : USERID : UNIX : stjohns\r\n",
		"6193, 23\r\n4711, 1\r\n":              "6193, 23 : USERID : UNIX : stjohns\r\n4711, 1 : USERID : OTHER : 4711\r\n",
		"65535, 65535\r\n":                     "65535, 65535 : USERID : OTHER : 65535\r\n",
		"10, 1\r\n":                            "10, 1 : USERID : OTHER : 10\r\n",
		"11, 1\r\n":                            "11, 1 : USERID : OTHER : 11\r\n",
		"12, 1\r\n":                            "12, 1 : USERID : OTHER : 12\r\n",
		"13, 1\r\n":                            "13, 1 : USERID : OTHER : 13\r\n",
		"14, 1\r\n":                            "14, 1 : ERROR : HIDDEN-USER\r\n",
		"15, 1\r\n":                            "15, 1 : ERROR : HIDDEN-USER\r\n",
		"1, 23\r\n":                            "1, 23 : ERROR : NO-USER\r\n",
		"2, 23\r\n":                            "2, 23 : ERROR : NO-USER\r\n",
		"3, 23\r\n":                            "3, 23 : ERROR : UNKNOWN-ERROR\r\n",
		"4, 23\r\n":                            "4, 23 : ERROR : UNKNOWN-ERROR\r\n",
		"0, 23\r\n":                            "0, 23 : ERROR : INVALID-PORT\r\n",
		"6193, 0\r\n":                          "6193, 0 : ERROR : INVALID-PORT\r\n",
		"65536, 23\r\n":                        "65536, 23 : ERROR : INVALID-PORT\r\n",
		"6193, 99999\r\n":                      "6193, 99999 : ERROR : INVALID-PORT\r\n",
		"-1, 23\r\n":                           "0, 0 : ERROR : INVALID-PORT\r\n",
		"+1, 23\r\n":                           "0, 0 : ERROR : INVALID-PORT\r\n",
		"6193.0, 23\r\n":                       "0, 0 : ERROR : INVALID-PORT\r\n",
		"006193, 23\r\n":                       "0, 0 : ERROR : INVALID-PORT\r\n",
		"61 93, 23\r\n":                        "0, 0 : ERROR : INVALID-PORT\r\n",
		"6193, 23, 4\r\n":                      "0, 0 : ERROR : INVALID-PORT\r\n",
		"6193\r\n":                             "0, 0 : ERROR : INVALID-PORT\r\n",
		"\r\n":                                 "0, 0 : ERROR : INVALID-PORT\r\n",
		"GET / HTTP/1.1\r\n":                   "0, 0 : ERROR : INVALID-PORT\r\n",
		"1 : USERID : UNIX : root, 1":          "0, 0 : ERROR : INVALID-PORT\r\n",
		"":                                     "",
		strings.Repeat(" ", 990) + "7, 1\r\n":  "7, 1 : USERID : OTHER : 7\r\n",
		strings.Repeat(" ", 1000) + "7, 1\r\n": "0, 0 : ERROR : UNKNOWN-ERROR\r\n",
		strings.Repeat("x", 60<<10) + "\r\n1,1\n": "0, 0 : ERROR : UNKNOWN-ERROR\r\n",
	} {
		t.Run(fmt.Sprintf("%.30q", query), func(t *testing.T) {
			t.Parallel()
			if got := talk(t, addr, query); got != want {
				t.Errorf("reply %q, want %q", got, want)
			}
		})
	}
}

func TestQueriesAreLimited(t *testing.T) {
	t.Parallel()
	addr := serve(t, &Server{Lookup: byPort, Name: named, Queries: 3})
	got := talk(t, addr, strings.Repeat("6193, 23\r\n", 5))
	if want := strings.Repeat("6193, 23 : USERID : UNIX : stjohns\r\n", 3); got != want {
		t.Errorf("replies %q, want %q", got, want)
	}
}

// TestIdleClientIsDropped: one that sends byte after byte is no less idle.
func TestIdleClientIsDropped(t *testing.T) {
	t.Parallel()
	addr := serve(t, &Server{Lookup: byPort, Idle: 200 * time.Millisecond})
	silent, dripping := dialTest(t, addr), dialTest(t, addr)
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
				if _, err := dripping.Write([]byte("1")); err != nil {
					return
				}
			}
		}
	}()
	for name, conn := range map[string]net.Conn{"silent": silent, "dripping": dripping} {
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Errorf("%s client still has its connection: %v", name, err)
		}
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	addr := serve(t, &Server{Lookup: byPort, Name: named, Conns: 1})
	ask := func(conn net.Conn) (string, error) {
		if _, err := io.WriteString(conn, "6193, 23\r\n"); err != nil {
			return "", err
		}
		return bufio.NewReader(conn).ReadString('\n')
	}
	first := dialTest(t, addr)
	if reply, err := ask(first); err != nil {
		t.Fatalf("first: %q, %v", reply, err)
	}
	if reply, err := ask(dialTest(t, addr)); err == nil || isTimeout(err) {
		t.Errorf("second, with the first still open: %q, %v, want it closed", reply, err)
	}
	first.Close()
	for range 1000 { // until the server has seen the first one go
		if _, err := ask(dialTest(t, addr)); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("no place after the first one has gone")
}

// TestClientThatStays has had its answer, and neither ends nor stops sending: it gets
// the end of the stream, no reset, and loses its place a second later.
func TestClientThatStays(t *testing.T) {
	t.Parallel()
	addr := serve(t, &Server{Lookup: byPort, Name: named, Queries: 1, Conns: 1})
	conn := dialTest(t, addr)
	const query, want = "6193, 23\r\n", "6193, 23 : USERID : UNIX : stjohns\r\n"
	quit := make(chan struct{})
	defer close(quit)
	if _, err := io.WriteString(conn, query); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			select {
			case <-quit:
				return
			default:
				if _, err := conn.Write(make([]byte, 4<<10)); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}
	}()
	if got, err := io.ReadAll(conn); err != nil || string(got) != want {
		t.Errorf("reply %q, %v, want %q", got, err, want)
	}
	for range 1000 {
		other := dialTest(t, addr)
		io.WriteString(other, query)
		if got, _ := io.ReadAll(other); string(got) == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("its place was never given to another")
}

// TestServeEndsWithClientsConnected: cancelling does not wait for anybody's minute.
func TestServeEndsWithClientsConnected(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- new(Server{}).Serve(ctx, l) }()
	conn := dialTest(t, l.Addr().String())
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve = %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Serve waits for the client")
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("client's connection is still open: %v", err)
	}
}

func TestServeReturnsWhenTheListenerIsClosed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := new(Server{}).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want net.ErrClosed", err)
	}
}

// A brokenListener fails to accept a few times first, as one does without descriptors.
type brokenListener struct {
	net.Listener
	failures int
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestServeOutlivesFailuresToAccept(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		s := Server{Lookup: byPort, Name: named}
		served <- s.Serve(ctx, &brokenListener{l, 3})
	}()
	if got, want := talk(t, l.Addr().String(), "6193, 23\r\n"), "6193, 23 : USERID : UNIX : stjohns\r\n"; got != want {
		t.Errorf("reply %q, want %q", got, want)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
