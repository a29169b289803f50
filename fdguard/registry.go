// SPDX-License-Identifier: MIT

package fdguard

import (
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A registry is everything the package-level functions share. Tests make their
// own, with their own system calls.
type registry struct {
	lvl     atomic.Int32
	onLeak  atomic.Pointer[func(Leak)]
	ids     atomic.Uint64
	table   table
	stacks  stacks
	leaks   leakLog
	trend   trend
	profile profile

	private atomic.Int64 // private descriptions open for clones to send from

	mu        sync.Mutex
	abandoned []*os.File

	sys  sys
	hook func(point string) // in tests: called between the steps of a transition
}

var std = &registry{sys: realSys, profile: profile{name: profileName}}

// sys is the seam to the system.
type sys struct {
	open     func(name string, flag int, perm os.FileMode) (*os.File, uintptr, fileID, error)
	close    func(*os.File) error
	reopen   func(fd uintptr) (uintptr, error)
	prepare  func(fd uintptr) (fileID, error)
	identify func(fd uintptr) fileID
}

// A fileID tells one open file from another that took its number. The zero
// fileID is unknown, and that of no open file.
type fileID struct {
	dev, ino uint64
	mode     uint32
}

// started is what ages count from. Time since then takes one reading of the
// clock, time.Now two.
var started = time.Now()

// now is the time since, in nanoseconds.
func now() int64 { return int64(time.Since(started)) }

func (r *registry) level() Level { return Level(r.lvl.Load()) }

func (r *registry) step(point string) {
	if r.hook != nil {
		r.hook(point)
	}
}

func (r *registry) logger() *slog.Logger { return slog.Default() }

// abandon keeps a file reachable for the life of the process, so that its
// finalizer does not close a number that is another's now.
func (r *registry) abandon(f *os.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.abandoned = append(r.abandoned, f)
}
