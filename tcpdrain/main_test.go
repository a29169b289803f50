// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

const helperEnv = "TCPDRAIN_TEST_HELPER"

// helpers are what the test binary does as a child process.
var helpers = map[string]func(){
	"firehose": func() {
		if conn, err := net.Dial("tcp", os.Getenv("TCPDRAIN_ADDR")); err == nil {
			for b := make([]byte, 256<<10); err == nil; {
				_, err = conn.Write(b)
			}
		}
	},
}

func TestMain(m *testing.M) {
	if f := helpers[os.Getenv(helperEnv)]; f != nil {
		f()
		os.Exit(0)
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// tcpPair returns both ends of a TCP connection over loopback.
func tcpPair(tb testing.TB) (local, peer *net.TCPConn) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return connect(tb, ln.(*net.TCPListener))
}

func connect(tb testing.TB, ln *net.TCPListener) (local, peer *net.TCPConn) {
	tb.Helper()
	dialed, err := net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		tb.Fatal(err)
	}
	accepted, err := ln.AcceptTCP()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { accepted.Close(); dialed.Close() })
	return accepted, dialed
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// pattern is n bytes of which every piece of 8 or more says where it belongs.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = streamByte(i)
	}
	return b
}

const messageSize = 13

func message(i int) string { return fmt.Sprintf("%012d\n", i) }

// patience is a bound on one thing that must happen, not on how fast a busy machine
// does it.
const patience = 3 * time.Minute

// soon ends when patience does.
func soon(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// within fails the test if f has not returned by then: it hangs.
func within(tb testing.TB, what string, f func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		tb.Fatalf("%s hangs", what)
	}
}

func eventually(tb testing.TB, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("does not happen")
		}
	}
}
