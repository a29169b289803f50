// SPDX-License-Identifier: MIT

package lsremote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

// waitThenRead is the mistake: the output is read when the child is done, and the
// child is done when its output has been read. started is told the child and the
// pipe while both wait for each other.
func waitThenRead(cmd *exec.Cmd, started func(*os.Process, *os.File)) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	started(cmd.Process, r)
	if err := cmd.Wait(); err != nil { // the child may never exit …
		return nil, err
	}
	return io.ReadAll(r) // … because nobody has come this far
}

// naive lists the repository the day before and the day after it grew by one
// branch, and looks at the child once it makes no more progress.
func naive(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
	repo, done, err := stage(ctx, progress)
	if err != nil {
		return incident.Evidence{}, err
	}
	defer done()

	progress("listing %d bytes: wait, then read", before)
	out, err := waitThenRead(repo.lsRemote(), func(*os.Process, *os.File) {})
	if err != nil {
		return incident.Evidence{}, err
	}
	if len(out) != before {
		return incident.Evidence{}, fmt.Errorf("the listing has %d bytes, want %d", len(out), before)
	}
	if err := repo.grow(ctx); err != nil {
		return incident.Evidence{}, err
	}

	progress("one more branch, %d bytes: wait, then read", after)
	var s stuck
	var watcher sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	defer stop()
	out, err = waitThenRead(repo.lsRemote(), func(p *os.Process, r *os.File) {
		watcher.Go(func() { s = watch(watching, p, r) })
	})
	stop()
	watcher.Wait()
	if err == nil {
		return incident.Evidence{Summary: fmt.Sprintf("did not hang: %d bytes came", len(out))}, nil
	}
	if !s.killed {
		return incident.Evidence{}, errors.Join(err, context.Cause(ctx))
	}
	return incident.Evidence{
		Confirmed: true,
		Summary: fmt.Sprintf("%d bytes came; at %d git hung in %s, %d in the pipe",
			before, after, s.call, s.inPipe),
		Facts: map[string]any{
			"bytes_that_worked": before, "bytes_that_hung": after,
			"blocked_in": s.call, "bytes_in_pipe": s.inPipe, "hung_for_ms": s.after.Milliseconds(),
		},
	}, nil
}

// stuck is what was seen of a child that made no progress.
type stuck struct {
	call   string // the system call it is blocked in
	inPipe int    // bytes that wait in the pipe
	after  time.Duration
	killed bool
}

// watch waits until the child has stood still in one system call with unread
// bytes in the pipe for a second, and ends it: without that, the naive program
// would never return. It gives up, and ends the child too, when ctx is done.
func watch(ctx context.Context, p *os.Process, r *os.File) stuck {
	const still = time.Second
	start := time.Now()
	var seen stuck
	since := start
	for tick := time.Tick(20 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			p.Kill()
			return seen
		case <-tick:
		}
		now := look(p.Pid, r)
		if now != seen {
			seen, since = now, time.Now()
		}
		if seen.call != "" && time.Since(since) >= still {
			seen.after = time.Since(start)
			seen.killed = p.Kill() == nil
			return seen
		}
	}
}
