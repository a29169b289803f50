// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLinesComeFromBothStreams(t *testing.T) {
	t.Parallel()
	var out, errs []string
	start := time.Now()
	for line, err := range Lines(t.Context(), do(t, "out:one\ntw", "err:bad\r\n", "sleep:50ms", "out:o\n\nlast")) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Partial || line.Time.Before(start) || line.Time.After(time.Now()) {
			t.Errorf("%+v", line)
		}
		if line.Source == FromStdout {
			out = append(out, string(line.Text))
		} else {
			errs = append(errs, string(line.Text))
		}
	}
	if !slices.Equal(out, []string{"one", "two", "", "last"}) || !slices.Equal(errs, []string{"bad"}) {
		t.Errorf("%q and %q", out, errs)
	}
}

// G38: a line of 10 MiB, in pieces.
func TestLineLongerThanMaxLine(t *testing.T) {
	t.Parallel()
	var got int
	var pieces, whole int
	r := Runner{MaxLine: 100_000}
	cmd := exec.Command("sh", "-c", "head -c 10485760 /dev/zero; echo; echo end")
	for line, err := range r.Lines(t.Context(), cmd) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Partial {
			pieces++
		} else {
			whole++
		}
		got += len(line.Text)
	}
	if got != 10<<20+3 || pieces != 10<<20/100_000 || whole != 2 {
		t.Errorf("%d bytes in %d pieces and %d ends", got, pieces, whole)
	}
}

func TestLinesYieldTheErrorLast(t *testing.T) {
	t.Parallel()
	var seen []string
	for line, err := range Lines(t.Context(), do(t, "out:a\nb\n", "err:sorry\n", "exit:3")) {
		if err != nil {
			var e *Error
			if line.Text != nil || !errors.As(err, &e) || e.Result.ExitCode != 3 || !strings.Contains(err.Error(), "sorry") {
				t.Errorf("%+v, %v", line, err)
			}
			seen = append(seen, "error")
			continue
		}
		seen = append(seen, string(line.Text))
	}
	if len(seen) != 4 || seen[3] != "error" {
		t.Errorf("%q", seen)
	}
	n := 0
	for _, err := range Lines(t.Context(), exec.Command("/nowhere/at/all")) {
		if n++; err == nil {
			t.Error("no error")
		}
	}
	if n != 1 {
		t.Errorf("%d pairs of a command that did not start", n)
	}
}

// The loop reads one stream by itself, and is woken for the other: nothing of either
// is lost, however their pieces meet.
func TestLinesOfTwoBusyStreams(t *testing.T) {
	t.Parallel()
	for step, want := range map[string]int{"alternate:40": 40 * 70_000, "letters:20000": 20_000} {
		var got [2]int
		for line, err := range Lines(t.Context(), do(t, step)) {
			if err != nil {
				t.Fatal(err)
			}
			if got[line.Source] += len(line.Text); !line.Partial {
				got[line.Source]++ // the newline; letters has none
			}
		}
		if step == "letters:20000" {
			want++
		}
		for src, n := range got {
			if n != want && n != want+1 { // the end of the pattern may have no newline
				t.Errorf("%s: %d bytes on %v, want %d", step, n, Source(src), want)
			}
		}
	}
}

// G39: by break, by return through a panic, and with the output in full flow.
func TestLeavingTheLoopReapsTheCommand(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"break", "panic"} {
		var pid int
		cmd := exec.Command("yes")
		func() {
			defer func() { _ = recover() }()
			for range Lines(t.Context(), cmd) {
				pid = cmd.Process.Pid
				if how == "panic" {
					panic("enough")
				}
				break
			}
		}()
		if syscall.Kill(pid, 0) != syscall.ESRCH || cmd.ProcessState == nil {
			t.Errorf("%s: process %d was not reaped", how, pid)
		}
	}
}

// A loop that is slower than Linger, Idle and the child loses nothing.
func TestSlowLoopGetsEveryLine(t *testing.T) {
	t.Parallel()
	r := Runner{Linger: 10 * time.Millisecond, Idle: 2 * time.Second}
	var b strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&b, "%d\n", i)
	}
	cmd := do(t, "cat")
	cmd.Stdin = strings.NewReader(b.String())
	n := 0
	for line, err := range r.Lines(t.Context(), cmd) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Source == FromStderr {
			continue
		}
		if string(line.Text) != fmt.Sprint(n) {
			t.Fatalf("line %d is %q", n, line.Text)
		}
		if n == 100 {
			time.Sleep(2500 * time.Millisecond)
		}
		n++
	}
	if n != 40_000 {
		t.Errorf("%d lines", n)
	}
}

func TestLinesAreNotBoundedByTheDefaultCapture(t *testing.T) {
	t.Parallel()
	n := 0
	cmd := exec.Command("sh", "-c", "yes 1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789 | head -c 70000000; exit 1") // more than All(64 MiB) would take
	for line, err := range Lines(t.Context(), cmd) {
		if err != nil {
			res := err.(*Error).Result
			if res.ExitCode != 1 || res.Stdout.Len() != linesTail || res.Stdout.Total() != 70_000_000 {
				t.Errorf("%v, %d bytes of %d", err, res.Stdout.Len(), res.Stdout.Total())
			}
			continue
		}
		n += len(line.Text) + 1
	}
	if n < 70_000_000 {
		t.Errorf("%d bytes", n)
	}
}

func TestLinesEndWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range Lines(ctx, do(t, "out:ready\n", "sleep:1m")) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
	for _, err := range (Runner{MaxLine: -1}).Lines(t.Context(), do(t)) {
		if !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
	for line := range (Runner{MaxLine: math.MaxInt}).Lines(t.Context(), do(t, "out:x")) {
		if string(line.Text) != "x" {
			t.Errorf("%q", line.Text)
		}
	}
}

// The loop waits for stdout itself, and is told when there is something of stderr.
func TestLineOfTheOtherStreamDoesNotWait(t *testing.T) {
	t.Parallel()
	var got []string
	ack := t.TempDir() + "/ack"
	cmd := do(t, "err:a\n", "waitfile:"+ack+"0", "out:b\n", "waitfile:"+ack+"1", "err:c\n", "waitfile:"+ack+"2")
	for line, err := range (Runner{Timeout: time.Minute}).Lines(t.Context(), cmd) {
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fmt.Sprintf("%s%d", ack, len(got)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got = append(got, line.Source.String()+" "+string(line.Text))
	}
	if want := []string{"stderr a", "stdout b", "stderr c"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Both streams at full speed, taken at uneven speed, and left at every kind of
// moment: nothing is lost before, and nothing hangs after.
func TestLinesOfBothStreamsWhileLeaving(t *testing.T) {
	t.Parallel()
	for leave := range 24 {
		stop := leave * leave * leave * 3
		var n [2]int
		for line, err := range Lines(t.Context(), exec.Command("sh", "-c", "seq 20000 & seq 20000 >&2; wait")) {
			if err != nil {
				t.Fatal(err)
			}
			n[line.Source]++
			if got := string(line.Text); got != fmt.Sprint(n[line.Source]) {
				t.Fatalf("line %d of %v is %q", n[line.Source], line.Source, got)
			}
			if n[0]+n[1] == stop {
				break
			}
			if n[0]%5000 == 1 {
				time.Sleep(time.Millisecond)
			}
		}
		if n[0]+n[1] != stop && n != [2]int{20_000, 20_000} {
			t.Errorf("%d lines", n)
		}
	}
}

// What was written before the deadline comes, however late the loop takes it; and a
// descendant out of reach that holds the pipe does not keep a loop that is left.
func TestLoopThatComesBackAfterTheDeadline(t *testing.T) {
	t.Parallel()
	loop := func(timeout time.Duration, leave bool) (last string, end error) {
		r := Runner{Timeout: timeout, Grace: -1, Linger: 50 * time.Millisecond}
		cmd := do(t, "forksetsid:sleep:30s", "outn:30000", "out:\nlast\n", "sleep:1m")
		earlier(t, 25*time.Second, func() { // not held by the descendant
			for line, err := range r.Lines(t.Context(), cmd) {
				if last == "" {
					time.Sleep(2 * timeout)
				}
				if end = err; err == nil {
					last = string(line.Text)
				}
				if leave {
					break
				}
			}
		})
		return last, end
	}
	loop(soon, true)
	for timeout := soon; ; timeout *= 2 { // the child may not have come to write so much
		if last, end := loop(timeout, false); last == "last" && errors.Is(end, ErrTimeout) {
			break
		} else if timeout > 3*time.Second {
			t.Errorf("the last line is %.20q, the error %v", last, end)
			break
		}
	}
}
