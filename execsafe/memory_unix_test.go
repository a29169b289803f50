// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"
)

// A run takes what its captures may keep, a buffer of 64 KiB for each stream, and
// 128 KiB for each Tee, however much is written, and whatever the bounds are modulo
// the size of a buffer. In a process of its own, whose heap is all its own.
func TestRunsStayWithinTheirMemory(t *testing.T) {
	t.Parallel()
	if res, err := Run(t.Context(), do(t, "memory")); err != nil || res.Stdout.Len() > 0 {
		t.Errorf("%s%v", res.Stdout, err)
	}
}

func runsWithinTheirMemory() {
	runtime.GOMAXPROCS(1) // for each, sync.Pool may keep a buffer that no run uses
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the first only moves what is pooled
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	slow := writerFunc(func(p []byte) (int, error) { time.Sleep(time.Millisecond); return len(p), nil })
	for _, r := range []Runner{
		{Stdout: Discard(), Stderr: Head(1)},
		{Stdout: Tail(100_001), Stderr: HeadTail(70_001, 99_999)},
		{Stdout: HeadTail(65_537, 131_073), Stderr: Tail(1<<20 + 1)},
		{Stdout: Tail(1 << 20), Stderr: Tail(10_001)},
		{Stdout: Spill("", 200_001, 1<<40), Stderr: Discard()},
		{Stdout: Tail(1).Tee(slow), Stderr: Tail(1).Tee(slow).Tee(io.Discard)},
		{Stdout: Tail(131_073), Combined: true},
	} {
		tees := len(r.Stdout.tees) + len(r.Stderr.tees)
		promise := r.Stdout.head + r.Stdout.tail + r.Stderr.head + r.Stderr.tail + int64(1+tees)*128<<10
		before := heap()
		p, err := r.Start(context.Background(), doThis("fork:alternate:1000000", "alternate:1000000"))
		if err != nil {
			fmt.Println(err)
			return
		}
		for end := time.Now().Add(slack); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if out, err := p.streams[FromStdout], p.streams[FromStderr]; out.total.Load() > 4<<20 && (err == nil || err.total.Load() > 4<<20) {
				break
			}
		}
		var samples []int64
		for range 60 {
			samples = append(samples, heap()-before)
		}
		slices.Sort(samples)
		most := samples[55] // beyond it, there may be garbage made since the collection
		_ = p.Stop()
		res, _ := p.Wait()
		if res.Stdout.Total() < 4<<20 || res.Stderr.Total() < 4<<20 && !r.Combined {
			fmt.Printf("%+v: only %d and %d bytes\n", r, res.Stdout.Total(), res.Stderr.Total())
		}
		_ = res.Stdout.Close()
		if most > promise+32<<10 { // beside the buffers: the Process, the Cmd, its environment
			fmt.Printf("%+v, %+v: %d bytes, want %d\n", r.Stdout, r.Stderr, most, promise)
		}
	}
}
