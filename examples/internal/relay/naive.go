// SPDX-License-Identifier: MIT

package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/tcpdrain"
)

// pause is the work between two reads.
const pause = 500 * time.Millisecond

// readAndWork is server B of the story: it reads a little, works, and reads again.
func readAndWork(ctx context.Context, conn net.Conn, got *int) error {
	buf := make([]byte, 1<<10)
	for {
		n, err := conn.Read(buf)
		if *got += n; err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func naive(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up := &Upstream{Messages: 10_000_000, Burst: 2500}
	if err := up.start(ctx); err != nil {
		return incident.Evidence{}, err
	}
	conn, err := up.dial(ctx)
	if err != nil {
		return incident.Evidence{}, err
	}
	defer conn.Close()

	progress("reading 1 KiB, working %v, reading again", pause)
	working, enough := context.WithCancel(ctx)
	zero := watchWindow(working, conn, progress)
	got, readErr := 0, make(chan error, 1)
	start := time.Now()
	go func() { readErr <- readAndWork(working, conn, &got) }()
	<-up.done
	took := time.Since(start)
	enough() // whoever reads now reads what the reset has left
	err = <-readErr
	zeroFor := <-zero
	if up.err != nil {
		return incident.Evidence{}, up.err
	}
	lost := up.sent - got/Size
	return incident.Evidence{
		Confirmed: up.refused && errors.Is(err, syscall.ECONNRESET) && lost > 0,
		Summary:   fmt.Sprintf("reset after %d ms; %d of %d messages lost", took.Milliseconds(), lost, up.sent),
		Facts: map[string]any{
			"error": fmt.Sprint(err), "sent": up.sent, "received": got / Size, "lost": lost,
			"reset_ms": took.Milliseconds(), "zero_window_ms": zeroFor.Milliseconds(),
		},
	}, nil
}

// watchWindow says for how long the connection's receive window was zero, once ctx
// is done.
func watchWindow(ctx context.Context, conn net.Conn, progress incident.Progress) <-chan time.Duration {
	zero := make(chan time.Duration, 1)
	go func() {
		const every = 5 * time.Millisecond
		var total time.Duration
		defer func() { zero <- total }()
		r, err := tcpdrain.NewReader(conn, tcpdrain.Config{}) // for its Stats
		if err != nil {
			return
		}
		for tick := 0; ; tick++ {
			select {
			case <-time.After(every):
			case <-ctx.Done():
				return
			}
			if r.Stats().ZeroWindow {
				total += every
			}
			if tick%20 == 19 {
				progress("receive window zero for %d ms", total.Milliseconds())
			}
		}
	}()
	return zero
}
