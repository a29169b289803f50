// SPDX-License-Identifier: MIT

package fdguardtest_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

// G27
func TestFirstHTTPGetInAProcessIsNoLeak(t *testing.T) {
	t.Parallel()
	if out, code := runHelper(t, "plain", "^TestBodyFirstGet$"); code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestBodyFirstGet(t *testing.T) {
	helperOnly(t)
	srv := httptest.NewServer(http.FileServer(http.Dir(".")))
	defer srv.Close()
	defer fdguardtest.VerifyNone(t, fdguardtest.IgnoreCurrent())
	res, err := http.Get(strings.Replace(srv.URL, "127.0.0.1", "localhost", 1) + "/fdguardtest.go") // resolves
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close() // the connection is idle now, at both ends
}

// G27
func TestPipesPooledForSpliceAreNoLeak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("splice(2) is Linux")
	}
	current := fdguardtest.IgnoreCurrent()
	spliceThroughProxy(t)
	if got := verify(t.Name(), current, fdguardtest.Settle(2*time.Second)); got != "" {
		t.Errorf("after io.Copy between connections: %s", got)
	}
}

// spliceThroughProxy copies from one TCP connection to another.
func spliceThroughProxy(t *testing.T) {
	t.Helper()
	pair := func() (a, b net.Conn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if b, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	client, proxyIn := pair()
	proxyOut, server := pair()
	go func() {
		io.CopyN(client, zeros{}, 1<<20)
		client.Close()
	}()
	go func() {
		io.Copy(proxyOut, proxyIn)
		proxyIn.Close()
		proxyOut.Close()
	}()
	if n, err := io.Copy(io.Discard, server); err != nil || n != 1<<20 {
		t.Errorf("copied %d bytes, %v", n, err)
	}
	server.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// G28
func TestParallelTestsBlameTheLeakingOne(t *testing.T) {
	t.Parallel()
	out, code := runHelper(t, "plain", "^TestBodyParallel", "-test.parallel=4")
	if code == 0 {
		t.Errorf("nobody was blamed:\n%s", out)
	}
	for name, wantFail := range map[string]bool{
		"TestBodyParallelLeaks":    true,
		"TestBodyParallelHolds":    false,
		"TestBodyParallelRawHolds": false,
		"TestBodyParallelTidy":     false,
	} {
		if failed := strings.Contains(out, "--- FAIL: "+name+" "); failed != wantFail {
			t.Errorf("%s failed = %v, want %v:\n%s", name, failed, wantFail, out)
		}
	}
}

// The bodies overlap: each waits until all have opened what they open, and the two
// that hold on to something until the other two have been judged.
var parallel = struct{ leaked, held, rawHeld, tidyDone, leakDone chan struct{} }{
	make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{}),
}

func TestBodyParallelLeaks(t *testing.T) {
	helperOnly(t)
	t.Parallel()
	defer close(parallel.leakDone)
	defer fdguardtest.VerifyNone(t, fdguardtest.Settle(50*time.Millisecond))
	f, err := fdguard.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) // too late
	close(parallel.leaked)
	<-parallel.held
	<-parallel.rawHeld
}

func TestBodyParallelHolds(t *testing.T) {
	helperOnly(t)
	t.Parallel()
	defer fdguardtest.VerifyNone(t, fdguardtest.Settle(50*time.Millisecond))
	f, err := fdguard.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	close(parallel.held)
	<-parallel.tidyDone
	<-parallel.leakDone
}

func TestBodyParallelRawHolds(t *testing.T) {
	helperOnly(t)
	t.Parallel()
	f, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	close(parallel.rawHeld)
	<-parallel.tidyDone
	<-parallel.leakDone
}

func TestBodyParallelTidy(t *testing.T) {
	helperOnly(t)
	t.Parallel()
	defer close(parallel.tidyDone)
	defer fdguardtest.VerifyNone(t, fdguardtest.Settle(50*time.Millisecond))
	<-parallel.leaked
	<-parallel.held
	<-parallel.rawHeld
}

// G20
func TestVerifyTestMain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		helper, body string
		code         int
		want         string
	}{
		"tidy":                       {"main", "^TestBodyTidy$", 0, "PASS"},
		"guarded, in a package var":  {"main", "^TestBodyKeepsGuarded$", 1, "TestBodyKeepsGuarded"},
		"unguarded":                  {"main", "^TestBodyKeepsRaw$", 1, "unguarded"},
		"a failed test is enough":    {"main", "^TestBodyFails$", 1, "this test fails"},
		"with goleak, tidy":          {"both", "^TestBodyTidy$", 0, "PASS"},
		"with goleak, a descriptor":  {"both", "^TestBodyKeepsGuarded$", 1, "fdguardtest: "},
		"with goleak, a goroutine":   {"both", "^TestBodyKeepsGoroutine$", 1, "goleak: "},
		"dropped, then collected":    {"main", "^TestBodyDrops$", 1, "TestBodyDrops"},
		"dropped, and not collected": {"main", "^TestBodyDropsLast$", 1, "TestBodyDropsLast"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := runHelper(t, tc.helper, tc.body)
			if code != tc.code || !strings.Contains(out, tc.want) {
				t.Errorf("exit code %d, want %d and %q in the output:\n%s", code, tc.code, tc.want, out)
			}
		})
	}
}

var (
	keptGuarded *fdguard.File
	keptRaw     *os.File
)

func TestBodyTidy(t *testing.T) { helperOnly(t) }

func TestBodyFails(t *testing.T) {
	helperOnly(t)
	keptRaw, _ = os.Open(os.Args[0])
	t.Error("this test fails")
}

func TestBodyKeepsGuarded(t *testing.T) {
	helperOnly(t)
	var err error
	if keptGuarded, err = fdguard.Open(os.Args[0]); err != nil {
		t.Fatal(err)
	}
}

func TestBodyKeepsRaw(t *testing.T) {
	helperOnly(t)
	var err error
	if keptRaw, err = os.Open(os.Args[0]); err != nil {
		t.Fatal(err)
	}
}

func TestBodyKeepsGoroutine(t *testing.T) {
	helperOnly(t)
	go func() { select {} }()
}

// G15: a collection that closes a dropped handle must not hide the leak.
func TestBodyDrops(t *testing.T) {
	helperOnly(t)
	dropGuarded(t)
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond) // lets the cleanup run; it does not matter whether it did
	}
}

func TestBodyDropsLast(t *testing.T) {
	helperOnly(t)
	dropGuarded(t)
}

//go:noinline
func dropGuarded(t *testing.T) {
	if _, err := fdguard.Open(os.Args[0]); err != nil {
		t.Fatal(err)
	}
}

// G28: descriptors that other tests open and close all the time, and those tests end
// all the time, are not blamed on the one that looks.
func TestComingAndGoingIsNotBlamed(t *testing.T) {
	t.Parallel()
	if out, code := runHelper(t, "plain", "^TestBody(Churns|Judges)$", "-test.parallel=4"); code != 0 {
		lines := slices.Collect(strings.Lines(string(out)))
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "===") || strings.Contains(line, "--- PASS") })
		t.Errorf("exit code %d:\n%.4000s", code, strings.Join(lines, ""))
	}
}

var judged = make(chan struct{})

func TestBodyChurns(t *testing.T) {
	helperOnly(t)
	t.Parallel()
	for {
		select {
		case <-judged:
			return
		default:
		}
		t.Run("briefly", func(t *testing.T) {
			f, err := os.Open(os.Args[0])
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		})
	}
}

func TestBodyJudges(t *testing.T) {
	helperOnly(t)
	t.Parallel()
	defer close(judged)
	for range 4000 {
		fdguardtest.VerifyNone(t, fdguardtest.Settle(0))
	}
}
