// SPDX-License-Identifier: MIT

package jobspool

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace"
	"github.com/seed-b08dbae9/sysprim/fsrace/spool"
)

// spools returns the spools in base: base itself, or those of this example.
func spools(base string) []string {
	dirs := []string{filepath.Join(base, "xml"), filepath.Join(base, "json")}
	if _, err := os.Lstat(dirs[0]); errors.Is(err, os.ErrNotExist) {
		return []string{base}
	}
	return dirs
}

// Evict gives the jobs that the earlier boots of host held, or all of a host that is
// gone for good, back to the others: what to run after a power failure, for instances
// without a lease. It writes how many there were.
func Evict(w io.Writer, base, host string) error {
	for _, dir := range spools(base) {
		s, err := spool.Open(dir, spool.Config{Label: "evict " + host})
		if err != nil {
			return err
		}
		n, err := s.EvictHost(host)
		fmt.Fprintf(w, "%s: took back %d jobs from %s\n", dir, n, host)
		if err := errors.Join(err, s.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Status writes who has the spools in base open, who had and left jobs behind, who
// holds and did how much, which jobs are held or have failed, and why. It takes no
// part in them.
func Status(w io.Writer, base string) error {
	for _, dir := range spools(base) {
		if err := status(w, dir); err != nil {
			return err
		}
	}
	return nil
}

func status(w io.Writer, dir string) error {
	s, err := spool.Open(dir, spool.Config{Observer: true})
	if err != nil {
		return err
	}
	defer s.Close()
	workers, err := s.Workers()
	if err != nil {
		return err
	}
	entries, err := s.Entries()
	if err != nil {
		return err
	}
	count := map[spool.State]int{}
	holds, did := map[string]int{}, map[string]int{} // by nonce
	open := map[string]bool{}
	for _, o := range workers {
		open[o.Nonce] = true
	}
	gone := map[string]fsrace.Owner{} // instances that have ended and left jobs, by nonce
	for _, e := range entries {
		count[e.State]++
		if e.State != spool.New && !open[e.Owner.Nonce] {
			gone[e.Owner.Nonce] = e.Owner
		}
		switch e.State {
		case spool.Claimed:
			holds[e.Owner.Nonce]++
		case spool.Done:
			did[e.Owner.Nonce]++
		}
	}
	fmt.Fprintf(w, "%s: %d new, %d claimed, %d done, %d failed; %d instances\n", dir,
		count[spool.New], count[spool.Claimed], count[spool.Done], count[spool.Failed], len(workers))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  INSTANCE\tHOST\tPID\tLIVENESS\tSINCE (UTC)\tHOLDS\tDID")
	for _, o := range workers {
		fmt.Fprintf(t, "  %s\t%s\t%d\t%v\t%s\t%d\t%d\n", o.Label, o.Host, o.PID, o.Liveness(), o.Since.Format(time.DateTime), holds[o.Nonce], did[o.Nonce])
	}
	for _, nonce := range slices.Sorted(maps.Keys(gone)) {
		o := gone[nonce]
		fmt.Fprintf(t, "  %s\t%s\t%d\t%s\t%s\t%d\t%d\n", o.Label, o.Host, o.PID, "ended", o.Since.Format(time.DateTime), holds[nonce], did[nonce])
	}
	if count[spool.Claimed]+count[spool.Failed] > 0 {
		fmt.Fprintln(t, "  JOB\tSTATE\tATTEMPT\tAGE\tOWNER\tREASON")
	}
	for _, e := range entries {
		if slices.Contains([]spool.State{spool.Claimed, spool.Failed}, e.State) {
			fmt.Fprintf(t, "  %s\t%s\t%d\t%v\t%s (%s, pid %d, %v)\t%q\n", e.Name, e.State, e.Attempt, e.Age.Round(time.Millisecond),
				e.Owner.Label, e.Owner.Host, e.Owner.PID, e.Owner.Liveness(), e.Reason)
		}
	}
	return t.Flush()
}
