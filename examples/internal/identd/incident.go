// SPDX-License-Identifier: MIT

package identd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/tcpdrain/sockowner"
)

// Incident is the print server that knew its users in every test, and not in production.
var Incident = &incident.Incident{
	Name:    "identd",
	Title:   "a client that half-closes at once has no owner",
	Package: "tcpdrain/sockowner",
	Naive: func(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
		d, err := printDay(ctx, EstablishedOnly, progress)
		return d.evidence(d.patient == jobs && d.hasty == 0), err
	},
	Fixed: func(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
		d, err := printDay(ctx, AnyState, progress)
		return d.evidence(d.patient == jobs && d.hasty == jobs && d.bytes == 2*jobs*jobSize), err
	},
}

// jobs is how many each kind of client sends.
const jobs = 10

// A day is what came of the jobs.
type day struct {
	patient, hasty int             // jobs accepted
	state          sockowner.State // of the hasty clients' ends when they were looked up
	user           string          // who sent them all
	bytes          int64           // counted as that user's
	refused        error           // why the first refused job was
}

func (d day) evidence(confirmed bool) incident.Evidence {
	e := incident.Evidence{
		Confirmed: confirmed,
		Summary:   fmt.Sprintf("in tests %d of %d jobs known; in production (%v) %d of %d", d.patient, jobs, d.state, d.hasty, jobs),
		Facts: map[string]any{
			"patient_sent": jobs, "patient_accepted": d.patient,
			"hasty_sent": jobs, "hasty_accepted": d.hasty, "hasty_state": d.state.String(),
			"user": d.user, "bytes_counted": d.bytes,
		},
	}
	if d.refused != nil {
		e.Facts["refused"] = d.refused.Error()
	}
	return e
}

// printDay has an identd that finds owners by lookup, a print server that asks it,
// and clients of both kinds by turns.
func printDay(ctx context.Context, lookup LookupFunc, progress incident.Progress) (d day, err error) {
	if _, err := lookup(nowhere, nowhere); errors.Is(err, errors.ErrUnsupported) {
		return d, err
	}
	var state atomic.Uint32 // as the last lookup saw it, whatever came of it
	identd := Server{Lookup: func(local, remote netip.AddrPort) (sockowner.Owner, error) {
		owner, err := lookup(local, remote)
		state.Store(uint32(owner.State))
		return owner, err
	}}
	_, d.user = identd.user(uint32(os.Geteuid()))

	identListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return d, err
	}
	printListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		identListener.Close()
		return d, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { identd.Serve(ctx, identListener) })
	defer printListener.Close()

	identAddr := identListener.Addr().(*net.TCPAddr).AddrPort()
	progress("identd listens on %v, the print server on %v", identAddr, printListener.Addr())
	for i := range 2 * jobs {
		accepted := &d.patient
		c, err := newClient(printListener.Addr().String(), i%2 == 1)
		if err != nil {
			return d, fmt.Errorf("client: %w", err)
		}
		if c.hasty { // its job is on its way and its end half-closed before the server gets to it
			accepted = &d.hasty
		}
		finished := make(chan error, 1)
		wg.Go(func() { finished <- c.finish() })
		conn, err := printListener.Accept()
		if err != nil {
			return d, err
		}
		j, err := printJob(ctx, conn, identAddr)
		if err = errors.Join(err, <-finished); err != nil {
			return d, err
		}
		if c.hasty {
			d.state = sockowner.State(state.Load())
		}
		if j.refused != nil {
			d.refused = firstOf(d.refused, j.refused)
		} else if *accepted++; j.user == d.user {
			d.bytes += j.size
		}
		progress("job %d of %d, client in %v: %s", i+1, 2*jobs, sockowner.State(state.Load()), j)
	}
	return d, ctx.Err()
}

var nowhere = netip.MustParseAddrPort("127.0.0.1:1")

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
