// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Each benchmark runs the thing beside what it replaces, so that the ratio comes
// out of one run:
//
//	go test -run '^$' -bench . ./execsafe

// An impl is one way to do the thing.
type impl struct {
	name string
	once func(b *testing.B)
}

func compare(b *testing.B, bytes int64, impls ...impl) {
	for _, im := range impls {
		b.Run("impl="+im.name, func(b *testing.B) {
			b.ReportAllocs()
			if bytes > 0 {
				b.SetBytes(bytes)
			}
			for b.Loop() {
				im.once(b)
			}
		})
	}
}

func must[T any](b *testing.B, v T, err error) T {
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// Goal: at most 1.05 times Output's time, and fewer bytes allocated.
func BenchmarkTrue(b *testing.B) { compare(b, 0, impl{"ours", trueOurs}, impl{"os", trueOS}) }

// ratio runs a and b in turns, as one time is worth little on a machine that others
// use too, and reports the median of a's time over b's. If clean is
// set, neither pays for the other's garbage.
func ratio(b *testing.B, metric string, clean bool, x, y func(b *testing.B)) {
	var ratios []float64
	for b.Loop() {
		var took [2]time.Duration
		for i, f := range []func(*testing.B){x, y} {
			if clean {
				runtime.GC()
			}
			start := time.Now()
			f(b)
			took[i] = time.Since(start)
		}
		ratios = append(ratios, float64(took[0])/float64(took[1]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], metric)
	b.ReportMetric(0, "ns/op")
}

// Goals: true at most 1.05 of Output; a Tail at most 1/0.95 of the bare loop, and at
// most 1/5 of Output; All at most 1/4 of it; Lines at most 1/2 of Scanner.
func BenchmarkRatio(b *testing.B) {
	b.Run("true", func(b *testing.B) { ratio(b, "ours/os", false, trueOurs, trueOS) })
	b.Run("tail", func(b *testing.B) { ratio(b, "ours/loop", false, tailOurs, bareLoop) })
	b.Run("tail", func(b *testing.B) { ratio(b, "ours/keeping", false, tailOurs, keepingLoop) })
	b.Run("tail", func(b *testing.B) { ratio(b, "ours/os", true, tailOurs, bulkOS) })
	b.Run("all", func(b *testing.B) { ratio(b, "ours/os", true, allOurs, bulkOS) })
	b.Run("lines", func(b *testing.B) { ratio(b, "ours/os", false, linesOurs, linesOS) })
}

func trueOurs(b *testing.B) { must(b, 0, firstErr(Run(b.Context(), exec.Command("/bin/true")))) }
func trueOS(b *testing.B)   { _, err := exec.Command("/bin/true").Output(); must(b, 0, err) }
func bulkOS(b *testing.B)   { out, err := bulkCmd(b).Output(); must(b, out, err) }

func tailOurs(b *testing.B) {
	res, err := Runner{Stdout: Tail(1 << 20)}.Run(b.Context(), bulkCmd(b))
	if must(b, res, err).Stdout.Total() != bulk || res.Stdout.Len() != 1<<20 {
		b.Fatal("bytes are missing")
	}
}

func allOurs(b *testing.B) {
	res, err := Runner{Stdout: All(bulk)}.Run(b.Context(), bulkCmd(b))
	if n, err := must(b, res, err).Stdout.WriteTo(io.Discard); n != bulk || err != nil {
		b.Fatal("bytes are missing")
	}
}

func firstErr(_ *Result, err error) error { return err }

const bulk = 256 << 20

// bulkCmd writes 64-byte lines from memory: the child must not be what is measured.
func bulkCmd(b *testing.B) *exec.Cmd { return do(b, fmt.Sprintf("lines:%d", bulk>>20)) }

// Goal: 5 times Output, 0.95 of the bare loop.
func BenchmarkTail(b *testing.B) {
	compare(b, bulk, impl{"ours", tailOurs}, impl{"os", bulkOS}, impl{"loop", bareLoop}, impl{"keeping-loop", keepingLoop})
}

func bareLoop(b *testing.B) { loop(b, 1) }

// A loop that keeps the last 1 MiB in the cheapest way: what a Tail(1 MiB) could
// reach. The difference to the bare loop is the processor's cache.
func keepingLoop(b *testing.B) { loop(b, 16) }

// loop reads into so many chunks in turns.
func loop(b *testing.B, chunks int) {
	cmd := bulkCmd(b)
	pipe, err := cmd.StdoutPipe()
	must(b, pipe, err)
	must(b, 0, cmd.Start())
	buf := make([]byte, chunks*chunkSize)
	total := 0
	for at := 0; ; at = (at + chunkSize) % len(buf) {
		n, err := pipe.Read(buf[at : at+chunkSize])
		total += n
		if err != nil {
			break
		}
	}
	if must(b, 0, cmd.Wait()); total != bulk {
		b.Fatal("bytes are missing")
	}
}

// Goal: 4 times Output, at most 1.1 bytes allocated per byte; with Bytes 2.1.
func BenchmarkAll(b *testing.B) {
	compare(b, bulk,
		impl{"ours-WriteTo", allOurs},
		impl{"ours-Bytes", func(b *testing.B) {
			res, err := Runner{Stdout: All(bulk)}.Run(b.Context(), bulkCmd(b))
			if len(must(b, res, err).Stdout.Bytes()) != bulk {
				b.Fatal("bytes are missing")
			}
		}},
		impl{"os", bulkOS},
	)
}

func linesOurs(b *testing.B) {
	n := 0
	for line, err := range Lines(b.Context(), bulkCmd(b)) {
		must(b, 0, err)
		n += len(line.Text) + 1
	}
	if n != bulk {
		b.Fatalf("%d bytes", n)
	}
}

func linesOS(b *testing.B) {
	cmd := bulkCmd(b)
	cmd.Stderr = new(bytes.Buffer)
	pipe, err := cmd.StdoutPipe()
	must(b, pipe, err)
	must(b, 0, cmd.Start())
	n := 0
	for s := bufio.NewScanner(pipe); s.Scan(); {
		n += len(s.Bytes()) + 1
	}
	if must(b, 0, cmd.Wait()); n != bulk {
		b.Fatalf("%d bytes", n)
	}
}

// Goal: twice bufio.Scanner.
func BenchmarkLines(b *testing.B) {
	compare(b, bulk, impl{"ours", linesOurs}, impl{"os", linesOS})
}

// Goal: 5 ms without a holder, Linger + 20 ms with one. The child writes the time
// as the last thing it does.
func BenchmarkReturnAfterExit(b *testing.B) {
	for name, r := range map[string]Runner{"holder=no": {}, "holder=yes": {Linger: 50 * time.Millisecond}} {
		b.Run(name, func(b *testing.B) {
			steps := []string{"now"}
			if r.Linger > 0 {
				steps = []string{"fork:sleep:1m", "now"}
			}
			var late []time.Duration
			for b.Loop() {
				res, err := r.Run(b.Context(), do(b, steps...))
				end := time.Now()
				if r.Linger == 0 {
					must(b, res, err)
				}
				out := res.Stdout.String()
				ns, err := strconv.ParseInt(out[strings.LastIndexByte(out, ' ')+1:], 10, 64)
				late = append(late, end.Sub(time.Unix(0, must(b, ns, err))))
			}
			slices.Sort(late)
			for _, q := range []int{50, 90, 99} {
				b.ReportMetric(float64(late[len(late)*q/100].Microseconds()), fmt.Sprintf("p%d-µs", q))
			}
			b.ReportMetric(float64(late[len(late)-1].Microseconds()), "max-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}
