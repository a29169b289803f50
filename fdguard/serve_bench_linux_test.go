// SPDX-License-Identifier: MIT

package fdguard

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkServe measures what a request costs the server: user and system time by
// getrusage(2), over eight kept-alive connections. The server is a process of its
// own, on one processor (taskset(1), where there is one). It serves the same file
// in each way in turn, in short rounds, so that the ratios come out of one run; the
// medians are reported, and that of the rounds' ratios to http.Dir. "same" is
// http.Dir once more, and shows the noise.
//
//	go test -run='^$' -bench=Serve -benchtime=30x ./fdguard
//
// One iteration is one round of each.
func BenchmarkServe(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	if taskset, err := exec.LookPath("taskset"); err == nil {
		cmd = exec.Command(taskset, "-c", "0", os.Args[0])
	}
	dir := b.TempDir()
	cmd.Env = append(os.Environ(), roleEnv+"=cpu", "FDGUARD_TEST_FILE="+dir, "GOMAXPROCS=1")
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
	for _, size := range []int{512, 4 << 10, 64 << 10, 1 << 20} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(size)), make([]byte, size), 0o600); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("size=", size), func(b *testing.B) {
			requests := 1600
			if size >= 1<<20 {
				requests = 400
			}
			hows := []string{"dir", "guard", "wrap", "same"}
			us, ratios := map[string][]float64{}, map[string][]float64{}
			for _, how := range hows {
				load(b, addr, fmt.Sprintf("/%s/%d", how, size), 200, size) // warm
			}
			for b.Loop() {
				for _, how := range hows {
					before := cpu()
					load(b, addr, fmt.Sprintf("/%s/%d", how, size), requests, size)
					us[how] = append(us[how], (cpu()-before)/float64(requests))
				}
				n := len(us["dir"]) - 1
				for _, how := range hows {
					ratios[how] = append(ratios[how], us[how][n]/us["dir"][n])
				}
				slices.Reverse(hows) // what comes first is not always the same
			}
			for _, how := range []string{"dir", "guard", "wrap", "same"} {
				b.ReportMetric(median(us[how]), how+"-cpu-µs/req")
				if how != "dir" {
					b.ReportMetric(median(ratios[how]), how+"/dir")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
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
			req, _ := http.NewRequest("GET", "http://x"+path, nil)
			for range n / conns {
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
				res, err := http.ReadResponse(r, req)
				if err != nil {
					b.Error(err)
					return
				}
				if m, err := io.Copy(io.Discard, res.Body); err != nil || m != int64(size) || res.StatusCode != 200 {
					b.Errorf("%s: %s, body of %d, %v", path, res.Status, m, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func init() {
	roles["cpu"] = func() error {
		dir := os.Getenv("FDGUARD_TEST_FILE")
		mux := http.NewServeMux()
		for how, fsys := range map[string]http.FileSystem{
			"/dir": http.Dir(dir), "/same": http.Dir(dir), "/guard": guardedDir(dir), "/wrap": wrappedDir(dir),
		} {
			mux.Handle(how+"/", http.StripPrefix(how, http.FileServer(fsys)))
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
