// SPDX-License-Identifier: MIT

package jobspool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/fsrace/spool"
)

// Incident is the story for the tour.
var Incident = &incident.Incident{
	Name:    processes.Name,
	Title:   "a forgotten second instance makes half of the jobs vanish",
	Package: "fsrace/spool",
	Naive:   Naive,
	Fixed:   Fixed,
	Roles:   processes.Roles,
}

// processes are Incident's roles, for the steps, which cannot refer to what refers to them.
var processes = &incident.Incident{Name: "jobspool", Roles: roles}

// Messages is how many messages a step sends.
const Messages = 120

const (
	oldHost = "old host" // configured
	newHost = "new host" // where somebody has started the same cron job
)

// Naive sends messages through the pipeline as it was, with a submitter on each of
// two hosts, one of which was never told where the cluster is.
func Naive(ctx context.Context, progress incident.Progress) (incident.Evidence, error) {
	var e incident.Evidence
	for range 3 { // it is a race: if one instance gets nearly all, try again
		var err error
		if e, err = naive(ctx, progress); err != nil || e.Confirmed {
			return e, err
		}
	}
	return e, nil
}

func naive(ctx context.Context, progress incident.Progress) (e incident.Evidence, err error) {
	p, err := newPipeline(ctx, "naive-", progress)
	if err != nil {
		return e, err
	}
	defer p.close()
	for _, dir := range []string{"xml", "json"} {
		if err := os.Mkdir(filepath.Join(p.base, dir), 0o755); err != nil {
			return e, err
		}
	}
	if err := p.startAll(); err != nil {
		return e, err
	}
	if err := p.send(Messages); err != nil {
		return e, err
	}
	err = p.wait(func() (bool, error) {
		left := 0
		for _, dir := range []string{"xml", "json"} {
			entries, err := os.ReadDir(filepath.Join(p.base, dir))
			if err != nil {
				return false, err
			}
			left += len(entries)
		}
		return left == 0, nil
	})
	if err != nil {
		return e, err
	}
	if err := p.stop(); err != nil { // what is in hand is finished
		return e, err
	}
	submitted, err := p.cluster.jobs()
	if err != nil {
		return e, err
	}
	missing := Messages - submitted
	progress("no file is left, no error was reported, and nothing says who took the %d that are missing", missing)
	return incident.Evidence{
		Confirmed: missing >= Messages/8,
		Summary:   fmt.Sprintf("%d of %d jobs vanished, and nobody can say where", missing, Messages),
		Facts:     map[string]any{"sent": Messages, "submitted": submitted, "missing": missing},
	}, nil
}

// Fixed sends the same messages through spools, past the same instance that cannot
// submit, and kills a converter on the way.
func Fixed(ctx context.Context, progress incident.Progress) (e incident.Evidence, err error) {
	p, err := newPipeline(ctx, "", progress)
	if err != nil {
		return e, err
	}
	defer p.close()
	if err := p.startAll(); err != nil {
		return e, err
	}
	if err := p.send(Messages / 2); err != nil {
		return e, err
	}
	seen, err := p.whoIsThere()
	if err != nil {
		return e, err
	}
	if err := p.kill("convert", newHost); err != nil {
		return e, err
	}
	progress("killed the converter on the %s", newHost)
	if err := p.send(Messages - Messages/2); err != nil {
		return e, err
	}
	done := 0
	err = p.wait(func() (bool, error) {
		done, err = p.cluster.jobs()
		return done == Messages, err
	})
	if err != nil {
		return e, err
	}
	var status strings.Builder
	if err := Status(&status, p.base); err != nil {
		return e, err
	}
	for line := range strings.Lines(status.String()) {
		progress("%s", strings.TrimSuffix(line, "\n"))
	}
	if err := p.stop(); err != nil {
		return e, err
	}
	counts, submitters, err := p.account()
	if err != nil {
		return e, err
	}
	missing := Messages - done
	return incident.Evidence{
		Confirmed: missing == 0 && seen && counts[spool.Done] >= Messages && counts[spool.Failed] == 0 && submitters == 1,
		Summary: fmt.Sprintf("%d of %d submitted; the idle twin is listed, gave back %d", done, Messages,
			p.said("released")),
		Facts: map[string]any{
			"sent": Messages, "submitted": done, "missing": missing, "released": p.said("released"),
			"refused_as_duplicates": p.said("duplicate"), "forgotten_instance_listed": seen,
			"instances_that_submitted": submitters,
		},
	}, nil
}

// whoIsThere reports whether the forgotten instance can be seen in the spool.
func (p *pipeline) whoIsThere() (bool, error) {
	s, err := spool.Open(filepath.Join(p.base, "json"), spool.Config{Observer: true})
	if err != nil {
		return false, err
	}
	defer s.Close()
	workers, err := s.Workers()
	if err != nil {
		return false, err
	}
	for _, o := range workers {
		if o.Label == label("submit", newHost) && o.PID == p.pid("submit", newHost) {
			p.progress("%q has the spool open, with PID %d since %s", o.Label, o.PID, o.Since.Format(time.TimeOnly))
			return true, nil
		}
	}
	return false, nil
}

// account counts the jobs of the last spool by state, and who finished them.
func (p *pipeline) account() (counts map[spool.State]int, submitters int, err error) {
	s, err := spool.Open(filepath.Join(p.base, "json"), spool.Config{Observer: true})
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	entries, err := s.Entries()
	if err != nil {
		return nil, 0, err
	}
	counts = map[spool.State]int{}
	by := map[string]bool{}
	for _, e := range entries {
		counts[e.State]++
		if e.State == spool.Done {
			by[e.Owner.Label] = true
		}
	}
	return counts, len(by), nil
}
