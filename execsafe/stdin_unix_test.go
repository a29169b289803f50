// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// G4: a child need not read what it is given.
func TestUnreadStdinIsNoError(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]io.Reader{
		"10 MB":    strings.NewReader(strings.Repeat("x", 10_000_000)),
		"infinite": zeros{},
		"empty":    strings.NewReader(""),
	} {
		within(t, 0, func() {
			cmd := exec.Command("true")
			cmd.Stdin = in
			if _, err := Run(t.Context(), cmd); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// G5
func TestUnreadStdinOfASleeperEndsWithTheTimeout(t *testing.T) {
	t.Parallel()
	within(t, 200*time.Millisecond, func() {
		cmd := do(t, "sleep:1m")
		cmd.Stdin = zeros{}
		res, err := Runner{Timeout: 200 * time.Millisecond}.Run(t.Context(), cmd)
		if !errors.Is(err, ErrTimeout) || res.Reason != TimedOut {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// G6
func TestCatEchoesMoreThanThePipesHold(t *testing.T) {
	t.Parallel()
	want := pattern(8 << 20)
	cmd := do(t, "cat")
	cmd.Stdin = strings.NewReader(want)
	res := mustRun(t, Runner{}, cmd)
	if res.Stdout.String() != want || res.Stderr.Len() == 0 {
		t.Errorf("got %d bytes, or others", res.Stdout.Len())
	}
}

// G7: the reader is not waited for. It is closed, as that may free it.
func TestStdinThatNeverReturnsDoesNotHoldRunUp(t *testing.T) {
	t.Parallel()
	in := &closable{closed: make(chan struct{})}
	within(t, 0, func() {
		cmd := exec.Command("true")
		cmd.Stdin = in
		if _, err := Run(t.Context(), cmd); err != nil {
			t.Error(err)
		}
	})
	within(t, defaultLinger, func() { <-in.closed })
}

type closable struct{ closed chan struct{} }

func (c *closable) Read([]byte) (int, error) { <-c.closed; return 0, io.ErrClosedPipe }
func (c *closable) Close() error             { close(c.closed); return nil }

type stuck struct{ until chan struct{} }

func (s stuck) Read([]byte) (int, error) { <-s.until; return 0, io.EOF }

// G7: without a Close, its goroutine stays as long as the Read does.
func TestStdinThatCannotBeClosedIsAbandoned(t *testing.T) {
	t.Parallel()
	in := stuck{make(chan struct{})}
	defer close(in.until)
	within(t, 0, func() {
		cmd := exec.Command("true")
		cmd.Stdin = in
		if _, err := Run(t.Context(), cmd); err != nil {
			t.Error(err)
		}
	})
}

type closeCounter struct {
	zeros
	closed atomic.Int32
}

func (c *closeCounter) Close() error { c.closed.Add(1); return nil }

// A reader that returns is the caller's to close.
func TestStdinThatReturnsIsNotClosed(t *testing.T) {
	t.Parallel()
	in := new(closeCounter)
	cmd := exec.Command("true")
	cmd.Stdin = in
	mustRun(t, Runner{Linger: 100 * time.Millisecond}, cmd)
	time.Sleep(200 * time.Millisecond)
	if in.closed.Load() != 0 {
		t.Error("closed")
	}
}

func TestStdinsErrorIsReported(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad tape")
	cmd := do(t, "cat")
	cmd.Stdin = io.MultiReader(strings.NewReader("begin"), errReader{bad})
	res, err := Run(t.Context(), cmd)
	if !errors.Is(err, bad) || res.Stdout.String() != "begin" || res.ExitCode != 0 || !strings.Contains(err.Error(), "Stdin") {
		t.Errorf("%q, %v", res.Stdout, err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// slowCloser is a pipe's end that takes its time to close, but not a second time.
type slowCloser struct {
	io.Writer
	closing, closed atomic.Bool
}

func (c *slowCloser) Close() error {
	if c.closing.Swap(true) {
		return io.ErrClosedPipe
	}
	time.Sleep(50 * time.Millisecond)
	c.closed.Store(true)
	return nil
}

// Our end of the pipe is closed when Run returns, whoever closed it.
func TestStdinIsClosedAfterwards(t *testing.T) {
	t.Parallel()
	pipe := &slowCloser{Writer: io.Discard}
	f := &feeder{src: strings.NewReader("x"), pipe: pipe, done: make(chan struct{})}
	go f.run()
	eventually(t, "the pipe to be closed", pipe.closing.Load)
	if err := f.stop(0); err != nil || !pipe.closed.Load() {
		t.Errorf("%v, closed: %t", err, pipe.closed.Load())
	}
}
