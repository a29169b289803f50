// SPDX-License-Identifier: MIT

package execsafe

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Goal: 1,000 sleeping children on at most 32 threads. Each implementation has a
// process of its own, whose threads are all its own.
func BenchmarkSleepers(b *testing.B) {
	for impl, verb := range map[string]string{"ours": "threads", "os": "osthreads"} {
		b.Run("impl="+impl, func(b *testing.B) {
			most := 0
			for b.Loop() {
				res, err := Run(b.Context(), do(b, verb+":1000"))
				n, err := strconv.Atoi(must(b, res, err).Stdout.String())
				most = max(most, must(b, n, err))
			}
			b.ReportMetric(float64(most), "threads")
		})
	}
}

// Goal: flat, with -benchtime 10000x.
func BenchmarkInARow(b *testing.B) {
	count := func() (fds, goroutines int) {
		names, err := filepath.Glob("/proc/self/fd/*")
		return len(must(b, names, err)), runtime.NumGoroutine()
	}
	trueOurs(b) // the runtime opens its own now
	time.Sleep(50 * time.Millisecond)
	fds, goroutines := count()
	for b.Loop() {
		trueOurs(b)
	}
	time.Sleep(50 * time.Millisecond) // for the goroutines of the last to end
	fdsNow, goroutinesNow := count()
	b.ReportMetric(float64(fdsNow-fds), "fds-more")
	b.ReportMetric(float64(goroutinesNow-goroutines), "goroutines-more")
	b.ReportMetric(float64(zombies(b)), "zombies")
}

// osThreadsOf is threadsOf for os/exec.
func osThreadsOf(n int) int {
	cmds := make([]*exec.Cmd, n)
	for i := range cmds {
		cmds[i] = exec.Command("sleep", "60")
		if cmds[i].Start() == nil {
			go cmds[i].Wait()
		}
	}
	time.Sleep(300 * time.Millisecond)
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, cmd := range cmds {
		_ = cmd.Process.Kill()
	}
	return len(tasks)
}
