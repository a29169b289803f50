// SPDX-License-Identifier: MIT

package opencache

import (
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// wantOpen fails the test if not n descriptors of files below dir are open, after a
// little time for the server's goroutines to end.
func wantOpen(t testing.TB, dir string, n int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	got := openBelow(dir)
	for range 1000 {
		if got == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
		got = openBelow(dir)
	}
	t.Errorf("%d files open, want %d", got, n)
}

// listenAndServe serves on loopback until stop is called.
func listenAndServe(h http.Handler) (base string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go srv.Serve(l)
	return "http://" + l.Addr().String(), func() { srv.Close() }, nil
}
