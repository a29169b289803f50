// SPDX-License-Identifier: MIT

package opencache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
// four ways in turn, in short rounds, one of each in an iteration. Reported are the
// medians of the times, those of the ratios within a round, and how far apart the
// quartiles of these are.
//
//	go test -run='^$' -bench=Serve -benchtime=40x ./fdguard/opencache
//
// "floor" is a file system whose files cost nothing: what is left is what net/http and
// the socket cost, and no cache can save.
func BenchmarkServe(b *testing.B) {
	sizes := []int{512, 4 << 10, 16 << 10, 64 << 10, 1 << 20}
	dir := b.TempDir()
	for _, size := range sizes {
		write(b, filepath.Join(dir, fmt.Sprint(size)), strings.Repeat("x", size))
	}
	time.Sleep(rest) // as a site at work is, but for a deploy
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
			impls := []string{"floor", "dir", "fs", "cache"}
			perRequest := make(map[string][]float64)
			requests := 2000
			if size >= 1<<20 {
				requests = 200
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
			for _, ratio := range [][2]string{{"floor", "dir"}, {"cache", "dir"}, {"cache", "fs"}} {
				var pairs []float64
				for i, x := range perRequest[ratio[0]] {
					pairs = append(pairs, x/perRequest[ratio[1]][i])
				}
				slices.Sort(pairs)
				name := ratio[0] + "/" + ratio[1]
				b.ReportMetric(pairs[len(pairs)/2], name)
				b.ReportMetric(pairs[len(pairs)*3/4]-pairs[len(pairs)/4], name+"-IQR")
			}
			for impl, times := range perRequest {
				slices.Sort(times)
				b.ReportMetric(times[len(times)/2], impl+"-cpu-µs/req")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRequest is what net/http asks of the file system for one request, without
// the rest: what there is to save.
func BenchmarkRequest(b *testing.B) {
	dir := newDir(b, map[string]string{"a": strings.Repeat("x", 4<<10)})
	floor, err := newFloor(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer floor.Close()
	time.Sleep(rest)
	for _, impl := range []struct {
		name string
		fs   http.FileSystem
	}{
		{"dir", http.Dir(dir)},
		{"cache", open(b, dir, Config{}).FileSystem()},
		{"floor", floor},
	} {
		b.Run("impl="+impl.name, func(b *testing.B) {
			b.ReportAllocs()
			sniff := make([]byte, headSize)
			for b.Loop() {
				f, err := impl.fs.Open("/a")
				if err != nil {
					b.Fatal(err)
				}
				_, _ = f.Stat()
				_, _ = f.Read(sniff)
				_, _ = f.Seek(0, io.SeekStart)
				_, _ = f.Read(sniff)
				conn, err := f.(syscall.Conn).SyscallConn()
				if err != nil {
					b.Fatal(err)
				}
				if err := conn.Read(func(uintptr) bool { return true }); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
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
		floor, err := newFloor(args[0])
		if err != nil {
			return err
		}
		defer floor.Close()
		mux := http.NewServeMux()
		for impl, h := range map[string]http.Handler{
			"/floor": http.FileServer(floor),
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

// A floor is a file system of files in memory, with descriptors at the ready to send
// them from.
type floor map[string]*floorFile

type floorFile struct {
	data []byte
	info fs.FileInfo
	idle chan uintptr
}

func newFloor(dir string) (floor, error) {
	files := make(floor)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		f := &floorFile{idle: make(chan uintptr, 8)}
		if f.data, err = os.ReadFile(path); err != nil {
			return nil, err
		}
		if f.info, err = e.Info(); err != nil {
			return nil, err
		}
		for range cap(f.idle) {
			fd, err := unix.Open(path, unix.O_RDONLY, 0)
			if err != nil {
				return nil, err
			}
			f.idle <- uintptr(fd)
		}
		files["/"+e.Name()] = f
	}
	return files, nil
}

func (files floor) Close() {
	for _, f := range files {
		for range cap(f.idle) {
			unix.Close(int(<-f.idle))
		}
	}
}

func (files floor) Open(name string) (http.File, error) {
	f := files[name]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return &openFloor{bytes.NewReader(f.data), f}, nil
}

type openFloor struct {
	*bytes.Reader
	*floorFile
}

func (f *openFloor) Close() error                          { return nil }
func (f *openFloor) Stat() (fs.FileInfo, error)            { return f.info, nil }
func (f *openFloor) Readdir(int) ([]fs.FileInfo, error)    { return nil, errors.ErrUnsupported }
func (f *openFloor) SyscallConn() (syscall.RawConn, error) { return (*rawFloor)(f), nil }

type rawFloor openFloor

func (f *rawFloor) Control(func(uintptr)) error    { return errors.ErrUnsupported }
func (f *rawFloor) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

func (f *rawFloor) Read(fn func(uintptr) bool) error {
	fd := <-f.idle
	defer func() { f.idle <- fd }()
	if _, err := unix.Seek(int(fd), f.Size()-int64(f.Len()), io.SeekStart); err != nil {
		return err
	}
	fn(fd)
	return nil
}
