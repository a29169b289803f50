// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// G1: reading one stream to its end first would deadlock.
func TestStderrIsReadWhileStdoutIsSilent(t *testing.T) {
	t.Parallel()
	res := mustRun(t, Runner{}, do(t, "errn:1048576", "outn:1048576"))
	if res.Stdout.String() != pattern(1<<20) || res.Stderr.String() != pattern(1<<20) {
		t.Errorf("got %d and %d bytes, or others than were written", res.Stdout.Len(), res.Stderr.Len())
	}
}

// G2
func TestBothStreamsFillInTurns(t *testing.T) {
	t.Parallel()
	res := mustRun(t, Runner{}, do(t, "alternate:30"))
	want := strings.Repeat(pattern(70_000), 30)
	if res.Stdout.String() != want || res.Stderr.String() != want {
		t.Errorf("got %d and %d bytes, or others than were written", res.Stdout.Len(), res.Stderr.Len())
	}
}

// G3: what incident 1 stumbled over lies between the second and the fourth.
func TestSizesAroundThePipesCapacity(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 65535, 65536, 65537, 1<<20 + 1} {
		res := mustRun(t, Runner{}, do(t, fmt.Sprintf("outn:%d", n), fmt.Sprintf("errn:%d", n)))
		if res.Stdout.String() != pattern(n) || res.Stderr.String() != pattern(n) {
			t.Errorf("%d bytes: got %d and %d, or others", n, res.Stdout.Len(), res.Stderr.Len())
		}
		if res.Stdout.Total() != int64(n) || res.Stdout.Truncated() || res.Stdout.Omitted() != 0 {
			t.Errorf("%d bytes: Total %d, Omitted %d", n, res.Stdout.Total(), res.Stdout.Omitted())
		}
	}
}

// Row 2 of the field: the output is read although nobody waits.
func TestChildIsNotBlockedWhenNobodyWaits(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "done")
	p, err := Start(t.Context(), do(t, "outn:1000000", "touch:"+mark))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done() // Wait has not been called
	if _, err := os.Stat(mark); err != nil {
		t.Error("the child did not get past its output")
	}
	if res, err := p.Wait(); err != nil || res.Stdout.Len() != 1000000 {
		t.Errorf("Wait: %d bytes, %v", res.Stdout.Len(), err)
	}
}

// G10, G11: a descendant holds the pipe, and there is more in it than one read takes.
func TestHolderDoesNotHangRunAndNothingIsLost(t *testing.T) {
	t.Parallel()
	within(t, defaultLinger, func() {
		res, err := Run(t.Context(), do(t, "outn:40960", "fork:sleep:1m"))
		if !errorsIs(err, ErrPipeHeld) || !res.PipeHeld || res.Swept != 1 || res.Reason != Exited || res.ExitCode != 0 {
			t.Errorf("%+v, %v", res, err)
		}
		if !strings.HasPrefix(res.Stdout.String(), pattern(40960)) {
			t.Errorf("got %d bytes, want the 40960 that were written before the exit", res.Stdout.Len())
		}
		gone(t, res)
	})
}

// G12: a daemon that is to live must not die of SIGPIPE.
func TestLeftDaemonMayGoOnWriting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	begin, mark := filepath.Join(dir, "begin"), filepath.Join(dir, "wrote")
	r := Runner{Leftovers: LeaveLeftovers, Linger: 50 * time.Millisecond}
	res, err := r.Run(t.Context(), do(t, "fork:waitfile:"+begin+"+outn:1000000+touch:"+mark))
	if err != nil || !res.PipeHeld || res.Swept != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := os.WriteFile(begin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon to finish writing", func() bool { _, err := os.Stat(mark); return err == nil })
}

// G13: the end of the output is not the end of the child.
func TestClosedStreamsAreNoExit(t *testing.T) {
	t.Parallel()
	res, err := Run(t.Context(), do(t, "close:1", "close:2", "sleep:300ms", "exit:4"))
	if res.ExitCode != 4 || res.Wall < 300*time.Millisecond || err == nil {
		t.Errorf("%+v, %v", res, err)
	}
}

// G34: one stream's flood neither starves the other nor takes its room.
func TestStreamsHaveTheirOwnBounds(t *testing.T) {
	t.Parallel()
	r := Runner{Stdout: Head(1000), Stderr: All(1000)}
	res, err := r.Run(t.Context(), do(t, "outn:3000000", "err:the one line\n", "outn:3000000", "exit:3"))
	if res.ExitCode != 3 || res.Stderr.String() != "the one line\n" || !strings.Contains(err.Error(), "the one line") {
		t.Errorf("%+v, %v", res, err)
	}
	if res.Stdout.Len() != 1000 || res.Stdout.Omitted() != 6000000-1000 {
		t.Errorf("stdout: %d kept, %d omitted", res.Stdout.Len(), res.Stdout.Omitted())
	}
}

// G33: a sink that offered ReadFrom would be filled past its cap.
func TestMemoryDoesNotGrowWithTheOutput(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MB")
	}
	var before, after runtime.MemStats
	var tee plainCounter
	r := Runner{Stdout: Tail(64 << 10).Tee(&tee), Stderr: Head(64 << 10)}
	runtime.ReadMemStats(&before)
	res := mustRun(t, r, exec.Command("head", "-c", "100000000", "/dev/zero"))
	runtime.ReadMemStats(&after)
	if res.Stdout.Total() != 100_000_000 || tee.n != 100_000_000 || res.Stdout.Len() != 64<<10 {
		t.Errorf("Total %d, tee %d, Len %d", res.Stdout.Total(), tee.n, res.Stdout.Len())
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 { // other tests run beside
		t.Logf("allocated %d bytes in all", grown)
	}
	if tee.readFrom {
		t.Error("the writer's ReadFrom was used")
	}
}

type plainCounter struct {
	n        int64
	readFrom bool
}

func (c *plainCounter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }
func (c *plainCounter) ReadFrom(r io.Reader) (int64, error) {
	c.readFrom = true
	return io.Copy(io.Discard, r)
}

// G40: one pipe keeps the order.
func TestCombinedKeepsTheOrder(t *testing.T) {
	t.Parallel()
	res := mustRun(t, Runner{Combined: true}, do(t, "letters:26"))
	if got, want := res.Stdout.String(), "aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ"; got != want {
		t.Errorf("got %q", got)
	}
	if res.Stderr == nil || res.Stderr.Total() != 0 {
		t.Error("Stderr is not empty")
	}
	_, err := Runner{Combined: true}.Run(t.Context(), do(t, "out:why\n", "exit:1"))
	if err == nil || !strings.HasSuffix(err.Error(), "exit status 1: why") {
		t.Errorf("error %v does not show the combined output", err)
	}
}

// G40: two pipes keep the order of each.
func TestSeparateStreamsKeepTheirOwnOrder(t *testing.T) {
	t.Parallel()
	res := mustRun(t, Runner{}, do(t, "letters:26"))
	if res.Stdout.String() != "abcdefghijklmnopqrstuvwxyz" || res.Stderr.String() != "ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t.Errorf("got %q and %q", res.Stdout, res.Stderr)
	}
}

// G42: the child gets the file itself, and we neither close nor capture it.
func TestFilesOfTheCallersArePassedDirectly(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := do(t, "out:into the file", "err:captured")
	cmd.Stdout = f
	res := mustRun(t, Runner{}, cmd)
	if res.Stdout.Total() != 0 || res.Stderr.String() != "captured" {
		t.Errorf("captured %q and %q", res.Stdout, res.Stderr)
	}
	if _, err := f.WriteString("!"); err != nil {
		t.Errorf("the file was closed: %v", err)
	}
	if b, _ := os.ReadFile(f.Name()); !bytes.Equal(b, []byte("into the file!")) {
		t.Errorf("the file has %q", b)
	}
	if cmd.Stdout != io.Writer(f) || cmd.ProcessState == nil {
		t.Error("the Cmd was changed, or has no ProcessState")
	}
}
