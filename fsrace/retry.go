// SPDX-License-Identifier: MIT

package fsrace

import (
	"io/fs"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// What others remove is made again, until one of these is reached.
const (
	patience = 10 * time.Second // in all, since the first time
	maxIdle  = 100              // times in a row without a sign that anybody removes anything
	eager    = 64               // times at once; then with pauses, to let a dead end cost little
)

// A retry bounds how often something that vanishes is made again. Its zero value
// is ready, and costs nothing until something vanishes.
type retry struct {
	attempts int // how often again has been called
	idle     int
	since    time.Time
}

// progress notes a sign that things do change: another try is not in vain.
func (r *retry) progress() { r.idle = 0 }

// again reports whether to try once more, and pauses before it where that is due.
func (r *retry) again() bool {
	r.attempts++
	r.idle++
	if r.attempts == 1 {
		r.since = time.Now()
	}
	if r.attempts > eager {
		time.Sleep(rand.N(time.Millisecond))
	}
	return r.idle <= maxIdle && time.Since(r.since) <= patience
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// describe names the kind of a file for an error message.
func describe(i sys.Info) string {
	switch i.Mode.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory, mode " + i.Mode.Perm().String()[1:]
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}
