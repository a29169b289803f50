// SPDX-License-Identifier: MIT

package opencache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkServe measures what a request costs the server: user and system time by
// getrusage(2), over eight kept-alive connections. Server and client are processes of
// their own with GOMAXPROCS=1, on one core each. The server serves the same files in
// four ways in turn, in short rounds, so that the ratios come out of one run; the
// medians are reported. "mem" is http.ServeContent from a []byte: what is left when
// files cost nothing at all.
//
//	go test -run='^$' -bench=Serve -benchtime=20x ./fdguard/opencache
//
// One iteration is one round of each.
func BenchmarkServe(b *testing.B) {
	sizes := []int{512, 4 << 10, 16 << 10, 64 << 10, 1 << 20}
	dir := b.TempDir()
	for _, size := range sizes {
		write(b, filepath.Join(dir, fmt.Sprint(size)), strings.Repeat("x", size))
	}
	server := startRole(b, 0, "benchserver", dir)
	client := startRole(b, 1, "benchclient", server.read())
	cpu := func() float64 {
		us, err := strconv.ParseFloat(server.ask(""), 64)
		if err != nil {
			b.Fatal(err)
		}
		return us
	}
	load := func(impl string, size, requests int) {
		if reply := client.ask(fmt.Sprintf("/%s/%d %d %d", impl, size, size, requests)); reply != "ok" {
			b.Fatal(reply)
		}
	}
	for _, size := range sizes {
		b.Run(fmt.Sprint("size=", size), func(b *testing.B) {
			impls := []string{"mem", "dir", "fs", "cache"}
			perRequest := make(map[string][]float64)
			requests := 4000
			if size >= 1<<20 {
				requests = 800
			}
			for _, impl := range impls {
				load(impl, size, 200) // warm
			}
			for b.Loop() {
				for _, impl := range impls {
					before := cpu()
					load(impl, size, requests)
					perRequest[impl] = append(perRequest[impl], (cpu()-before)/float64(requests))
				}
			}
			median := func(impl string) float64 {
				slices.Sort(perRequest[impl])
				return perRequest[impl][len(perRequest[impl])/2]
			}
			for _, impl := range impls {
				b.ReportMetric(median(impl), impl+"-cpu-µs/req")
			}
			b.ReportMetric(median("mem")/median("dir"), "mem/dir")
			b.ReportMetric(median("cache")/median("dir"), "cache/dir")
			b.ReportMetric(median("cache")/median("fs"), "cache/fs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// A role is a helper process that answers each line with a line.
type role struct {
	b   *testing.B
	in  io.Writer
	out *bufio.Reader
}

// startRole starts a helper on the n-th of the cores this process may use, if there
// is more than one.
func startRole(b *testing.B, n int, name string, args ...string) *role {
	cmd := helper(name, args...)
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := startOn(n, cmd); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	return &role{b, stdin, bufio.NewReader(stdout)}
}

// startOn starts a process on one core: a child inherits its thread's affinity.
func startOn(n int, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	if all.Count() < 2 {
		return cmd.Start()
	}
	core := 0
	for ; !all.IsSet(core) || n > 0; core++ {
		if all.IsSet(core) {
			n--
		}
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &all)
	return cmd.Start()
}

func (r *role) ask(line string) string {
	fmt.Fprintln(r.in, line)
	return r.read()
}

func (r *role) read() string {
	line, err := r.out.ReadString('\n')
	if err != nil {
		r.b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func init() {
	helpers["benchclient"] = func(args []string) error {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var path string
			var size, requests int
			if _, err := fmt.Sscan(in.Text(), &path, &size, &requests); err != nil {
				return err
			}
			const conns = 8
			errs := make(chan error, conns)
			for range conns {
				go func() { errs <- request(args[0], path, size, requests/conns) }()
			}
			var all []error
			for range conns {
				all = append(all, <-errs)
			}
			if err := errors.Join(all...); err != nil {
				return err
			}
			fmt.Println("ok")
		}
		return nil
	}
}

// request makes n requests over one connection, and checks each reply's length.
func request(addr, path string, size, n int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	for range n {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		length := -1
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return err
			}
			if len(line) == 2 {
				break
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
		}
		if m, err := r.Discard(size); err != nil || length != size {
			return fmt.Errorf("%s: Content-Length %d, body of %d, %w", path, length, m, err)
		}
	}
	return nil
}

func init() {
	helpers["benchserver"] = func(args []string) error {
		root, err := os.OpenRoot(args[0])
		if err != nil {
			return err
		}
		c, err := New(args[0], Config{})
		if err != nil {
			return err
		}
		entries, err := os.ReadDir(args[0])
		if err != nil {
			return err
		}
		inMemory := make(map[string][]byte)
		for _, e := range entries {
			if inMemory["/"+e.Name()], err = os.ReadFile(filepath.Join(args[0], e.Name())); err != nil {
				return err
			}
		}
		modified := time.Now()
		mux := http.NewServeMux()
		for impl, h := range map[string]http.Handler{
			"/mem": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.ServeContent(w, r, r.URL.Path, modified, bytes.NewReader(inMemory[r.URL.Path]))
			}),
			"/dir":   http.FileServer(http.Dir(args[0])),
			"/fs":    http.FileServerFS(root.FS()),
			"/cache": http.FileServer(c.FileSystem()),
		} {
			mux.Handle(impl+"/", http.StripPrefix(impl, h))
		}
		// BBR paces large replies with a timer per packet. Where timers are dear, as in
		// many virtual machines, that is most of what a reply costs, however it is
		// made. Connections inherit what the listener asks for.
		config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
			return conn.Control(func(fd uintptr) {
				_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
			})
		}}
		l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go http.Serve(l, mux)
		fmt.Println(l.Addr())
		for in := bufio.NewReader(os.Stdin); ; {
			if _, err := in.ReadString('\n'); err != nil {
				return nil
			}
			var u unix.Rusage
			if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
				return err
			}
			fmt.Println(time.Duration(u.Utime.Nano()+u.Stime.Nano()).Seconds() * 1e6)
		}
	}
}
