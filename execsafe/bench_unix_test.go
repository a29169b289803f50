// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each benchmark runs the thing beside what it replaces, so that the ratio comes
// out of one run:
//
//	go test -run '^$' -bench . ./execsafe

// run interleaves the implementations: on a busy machine they share the same luck.
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
func BenchmarkTrue(b *testing.B) {
	compare(b, 0,
		impl{"ours", func(b *testing.B) { must(b, 0, firstErr(Run(b.Context(), exec.Command("/bin/true")))) }},
		impl{"os", func(b *testing.B) { _, err := exec.Command("/bin/true").Output(); must(b, 0, err) }},
	)
}

// The same in pairs, as one time is worth little on a shared machine: the metric is
// the median of ours/os.
func BenchmarkTruePaired(b *testing.B) {
	var ratios []float64
	for b.Loop() {
		t0 := time.Now()
		_, err := Run(b.Context(), exec.Command("/bin/true"))
		t1 := time.Now()
		_, err2 := exec.Command("/bin/true").Output()
		t2 := time.Now()
		must(b, must(b, 0, err), err2)
		ratios = append(ratios, float64(t1.Sub(t0))/float64(t2.Sub(t1)))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ours/os")
}

func firstErr(_ *Result, err error) error { return err }

const bulk = 256 << 20

func bulkCmd() *exec.Cmd {
	return exec.Command("dd", "if=/dev/zero", "bs=64K", fmt.Sprintf("count=%d", bulk>>16), "status=none")
}

// Goal: 5 times Output, 0.95 of the bare loop.
func BenchmarkTail(b *testing.B) {
	compare(b, bulk,
		impl{"ours", func(b *testing.B) {
			res, err := Runner{Stdout: Tail(1 << 20)}.Run(b.Context(), bulkCmd())
			if must(b, res, err).Stdout.Total() != bulk || res.Stdout.Len() != 1<<20 {
				b.Fatal("bytes are missing")
			}
		}},
		impl{"os", func(b *testing.B) { out, err := bulkCmd().Output(); must(b, out, err) }},
		impl{"loop", bareLoop},
	)
}

func bareLoop(b *testing.B) {
	cmd := bulkCmd()
	pipe, err := cmd.StdoutPipe()
	must(b, pipe, err)
	must(b, 0, cmd.Start())
	buf := make([]byte, 64<<10)
	total := 0
	for {
		n, err := pipe.Read(buf)
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
	all := Runner{Stdout: All(bulk)}
	compare(b, bulk,
		impl{"ours-WriteTo", func(b *testing.B) {
			res, err := all.Run(b.Context(), bulkCmd())
			if n, err := must(b, res, err).Stdout.WriteTo(io.Discard); n != bulk || err != nil {
				b.Fatal("bytes are missing")
			}
		}},
		impl{"ours-Bytes", func(b *testing.B) {
			res, err := all.Run(b.Context(), bulkCmd())
			if len(must(b, res, err).Stdout.Bytes()) != bulk {
				b.Fatal("bytes are missing")
			}
		}},
		impl{"os", func(b *testing.B) { out, err := bulkCmd().Output(); must(b, out, err) }},
	)
}

// Goal: twice bufio.Scanner.
func BenchmarkLines(b *testing.B) {
	const size = 64 << 20
	line := strings.Repeat("x", 63)
	source := func() *exec.Cmd {
		return exec.Command("sh", "-c", fmt.Sprintf("yes %s | head -c %d", line, size))
	}
	compare(b, size,
		impl{"ours", func(b *testing.B) {
			n := 0
			for line, err := range Lines(b.Context(), source()) {
				must(b, 0, err)
				n += len(line.Text) + 1
			}
			if n != size {
				b.Fatalf("%d bytes", n)
			}
		}},
		impl{"os", func(b *testing.B) {
			cmd := source()
			var errs bytes.Buffer
			cmd.Stderr = &errs
			pipe, err := cmd.StdoutPipe()
			must(b, pipe, err)
			must(b, 0, cmd.Start())
			n := 0
			for s := bufio.NewScanner(pipe); s.Scan(); {
				n += len(s.Bytes()) + 1
			}
			if must(b, 0, cmd.Wait()); n != size {
				b.Fatalf("%d bytes", n)
			}
		}},
	)
}
