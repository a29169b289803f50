// SPDX-License-Identifier: MIT

package fsrace

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// tempPrefix begins the name of every file and directory that this package makes
// for itself; the rest is the record of its owner, without the labels.
const tempPrefix = ".fsrace-"

// ownPrefix begins those of this process.
var ownPrefix = sync.OnceValue(func() string {
	id := self()
	o := Owner{BootID: id.boot, PIDNS: id.pidns, PID: os.Getpid(), Start: id.start, Nonce: "x"}
	return tempPrefix + strings.TrimSuffix(o.String(), "x")
})

// tempName returns a name that nobody has used, or can guess.
func tempName() string {
	var nonce [8]byte
	rand.Read(nonce[:])
	return ownPrefix() + hex.EncodeToString(nonce[:])
}

// sweep removes from dir what processes that are certainly dead left behind.
// It returns how many names it had to look at.
func sweep(calls sys.FS, dir string) (looked int) {
	names, err := calls.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, name := range names {
		record, ours := strings.CutPrefix(name, tempPrefix)
		if !ours || strings.HasPrefix(name, ownPrefix()) {
			continue
		}
		if owner, err := ParseOwner(record); err == nil && owner.Liveness() == Dead {
			calls.RemoveAll(join(dir, name))
		}
	}
	return len(names)
}

// A sweeper sweeps the directories that this process writes in: each at the first
// write, and then once in a while, so that a write costs next to nothing more.
// A nil sweeper never sweeps.
type sweeper struct {
	mu   sync.Mutex
	next map[string]time.Time
}

// Reading a directory takes some microseconds per thousand names, so that sweeping
// it is well below a hundredth of the time, however large it is.
const (
	sweepEvery        = time.Second
	sweepEveryPerName = 50 * time.Microsecond
)

func (s *sweeper) visit(calls sys.FS, dir string) {
	if s == nil {
		return
	}
	const maxDirs = 1024
	now := time.Now()
	s.mu.Lock()
	due := !now.Before(s.next[dir])
	if due {
		if s.next == nil || len(s.next) >= maxDirs {
			s.next = map[string]time.Time{}
		}
		s.next[dir] = now.Add(sweepEvery)
	}
	s.mu.Unlock()
	if !due {
		return
	}
	if n := sweep(calls, dir); n > 0 {
		s.mu.Lock()
		s.next[dir] = now.Add(sweepEvery + time.Duration(n)*sweepEveryPerName)
		s.mu.Unlock()
	}
}
