// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
)

// ErrEmpty is what [Spool.TryClaim] returns when it found no job to claim. That is
// no proof that there is none: a directory that changes while it is read may hide
// entries that were there all along.
var ErrEmpty = errors.New("spool: no job found")

// ErrClaimLost is wrapped by the errors of a [Claim] that is not this worker's any
// more, because it was reclaimed or evicted. Whoever gets it must not publish what
// the work produced: somebody else does the job, or has done it.
var ErrClaimLost = errors.New("claim lost")

// ErrObserver is wrapped by the errors of what a [Config.Observer] may not do.
var ErrObserver = errors.New("spool is open for looking only")

// A FormatError reports a directory that [Open] does not take for a spool of the
// version it knows, and leaves alone.
type FormatError struct {
	Dir   string
	Found string // first line of its format file; empty if it has none
	Alien string // without a format file: an entry that belongs to no spool
}

func (e *FormatError) Error() string {
	if e.Alien != "" {
		return fmt.Sprintf("spool: %s is not a spool: it holds %q", e.Dir, e.Alien)
	}
	if e.Found == "" {
		return fmt.Sprintf("spool: %s is not a spool", e.Dir)
	}
	return fmt.Sprintf("spool: %s has format %q, this program knows %q", e.Dir, e.Found, format)
}

// A LayoutError reports that parts of a spool are not what they must be: real
// directories on one mounted file system, between which rename(2) works.
type LayoutError struct {
	Dir  string // the spool
	Part string // the part at fault
	Err  error
}

func (e *LayoutError) Error() string {
	return fmt.Sprintf("spool: %s: %s: %v", e.Dir, e.Part, e.Err)
}

func (e *LayoutError) Unwrap() error { return e.Err }
