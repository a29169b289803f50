// SPDX-License-Identifier: MIT

package fdguardtest

import (
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// An Option changes what counts as a leak, or how long to wait for the rest to close.
type Option interface {
	apply(*config)
}

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	test    string // function name of the test to blame; "": everything is blamed
	settle  time.Duration
	known   map[Descriptor]bool
	handles map[uint64]bool // guarded handles to ignore
	dropped int64           // handles that had been dropped by then
	names   []string        // patterns
	cleanup func(exitCode int)
}

// IgnoreCurrent ignores the descriptors and handles that are open now: at the time
// IgnoreCurrent is called, not when the check is made.
func IgnoreCurrent() Option {
	known, handles := openDescriptors(), fdguard.Handles()
	dropped := fdguard.Snapshot().Leaks[fdguard.Dropped.String()]
	return optionFunc(func(c *config) {
		for _, d := range known {
			c.known[d] = true
		}
		for _, h := range handles {
			c.handles[h.ID] = true
		}
		c.dropped = max(c.dropped, dropped)
	})
}

// IgnoreName ignores descriptors and handles whose name equals pattern or matches
// it as [path.Match] does; a pattern without a slash is matched against the last
// element of the name, too. "socket:*" ignores sockets on Linux, "*.db" databases.
// IgnoreName panics if the pattern is malformed.
func IgnoreName(pattern string) Option {
	if _, err := path.Match(pattern, ""); err != nil {
		panic(fmt.Sprintf("fdguardtest: IgnoreName(%q): %v", pattern, err))
	}
	return optionFunc(func(c *config) { c.names = append(c.names, pattern) })
}

// Settle sets how long to wait for descriptors that are about to be closed. The
// default is 2 s; a leak-free test does not wait. Settle(0) looks once.
func Settle(d time.Duration) Option {
	return optionFunc(func(c *config) { c.settle = d })
}

// Cleanup sets what is called at the end, with the exit code: instead of [os.Exit] in
// [VerifyTestMain], in addition to the check, with 0, in [VerifyNone]. It lets a
// TestMain do more before the process ends.
func Cleanup(f func(exitCode int)) Option {
	return optionFunc(func(c *config) { c.cleanup = f })
}

// atStart is what the process inherited and what the runtime opened for itself.
// There is no later moment at which the two can be told from a test's descriptors.
var atStart = openDescriptors()

func newConfig(options []Option) *config {
	c := &config{
		settle:  2 * time.Second,
		known:   make(map[Descriptor]bool),
		handles: make(map[uint64]bool),
	}
	for _, d := range atStart {
		c.known[d] = true
	}
	for _, o := range options {
		o.apply(c)
	}
	return c
}

func (c *config) ignoresName(name string) bool {
	base := path.Base(strings.ReplaceAll(name, string(os.PathSeparator), "/"))
	for _, p := range c.names {
		whole, _ := path.Match(p, name)
		last, _ := path.Match(p, base)
		if p == name || whole || last && !strings.Contains(p, "/") {
			return true
		}
	}
	return false
}
