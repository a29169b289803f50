// SPDX-License-Identifier: MIT

//go:build unix

package opencache

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkServe measures what a request costs the server: user and system time by
// getrusage(2), over eight kept-alive connections. The server is a process of its own
// with GOMAXPROCS=1. It serves the same files in three ways in turn, in short rounds,
// so that the ratios come out of one run; the medians are reported.
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
	cmd := helper("benchserver", dir)
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
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	replies := bufio.NewReader(stdout)
	var addr string
	if _, err := fmt.Fscanln(replies, &addr); err != nil {
		b.Fatal(err)
	}
	cpu := func() (us float64) {
		fmt.Fprintln(stdin)
		if _, err := fmt.Fscanln(replies, &us); err != nil {
			b.Fatal(err)
		}
		return us
	}
	for _, size := range sizes {
		b.Run(fmt.Sprint("size=", size), func(b *testing.B) {
			impls := []string{"dir", "fs", "cache"}
			perRequest := make(map[string][]float64)
			requests := 4000
			if size >= 1<<20 {
				requests = 800
			}
			for _, impl := range impls {
				load(b, addr, fmt.Sprintf("/%s/%d", impl, size), 200, size) // warm
			}
			for b.Loop() {
				for _, impl := range impls {
					before := cpu()
					load(b, addr, fmt.Sprintf("/%s/%d", impl, size), requests, size)
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
			b.ReportMetric(median("cache")/median("dir"), "cache/dir")
			b.ReportMetric(median("cache")/median("fs"), "cache/fs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// load makes n requests over eight connections, and checks each reply's length.
func load(b *testing.B, addr, path string, n, size int) {
	const conns = 8
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 64<<10)
			for range n / conns {
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
				length := -1
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						b.Error(err)
						return
					}
					if len(line) == 2 {
						break
					}
					fmt.Sscanf(string(line), "Content-Length: %d", &length)
				}
				if m, err := r.Discard(size); err != nil || length != size {
					b.Errorf("%s: Content-Length %d, body of %d, %v", path, length, m, err)
					return
				}
			}
		})
	}
	wg.Wait()
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
		mux := http.NewServeMux()
		for impl, h := range map[string]http.Handler{
			"/dir":   http.FileServer(http.Dir(args[0])),
			"/fs":    http.FileServerFS(root.FS()),
			"/cache": http.FileServer(c.FileSystem()),
		} {
			mux.Handle(impl+"/", http.StripPrefix(impl, h))
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
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

// BenchmarkOpenReadClose is a small file read whole, without HTTP.
func BenchmarkOpenReadClose(b *testing.B) {
	dir := newDir(b, map[string]string{"a": strings.Repeat("x", 4096)})
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	c := open(b, dir, Config{})
	for _, impl := range []struct {
		name string
		open func() (fs.File, error)
	}{
		{"os.Open", func() (fs.File, error) { return os.Open(dir + "/a") }},
		{"os.Root", func() (fs.File, error) { return root.Open("a") }},
		{"opencache", func() (fs.File, error) { return c.Open("a") }},
	} {
		b.Run("impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 8192)
			for b.Loop() {
				f, err := impl.open()
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.ReadFull(f, buf[:4096]); n != 4096 {
					b.Fatal(n, err)
				}
				f.Close()
			}
		})
	}
	runtime.KeepAlive(c)
}
