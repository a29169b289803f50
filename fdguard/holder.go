// SPDX-License-Identifier: MIT

package fdguard

import (
	"math"
	"sync/atomic"
)

// A holder is one reference to a core, with a life of its own.
type holder struct {
	// word packs the holder's whole life, so that every transition is one
	// atomic step.
	//
	//	bit 63     closed: set once, never cleared (the sign, so that one
	//	           comparison tests what an addition returned)
	//	bit 62     gone: set once, by whoever gives the core's reference back
	//	bits 0-61  operations inside, and refused ones on their way out
	//
	// Invariants:
	//
	//	(1) an operation is inside only if its own addition found closed unset;
	//	    it is counted from that instant                        [acquire]
	//	(2) so after closed is set nobody gets inside: the count may flicker by
	//	    refused operations, which touch nothing              [acquire]
	//	(3) the step {closed, not gone, 0} -> gone is made by one
	//	    compare-and-swap, or together with closed by close; whoever makes
	//	    it, and nobody else, drops the core's reference  [close, release]
	//	(4) hence the core keeps this reference as long as an operation is
	//	    inside, and nothing leads back from gone
	word atomic.Int64

	core *core

	// What the table shows. A holder in the table is reachable forever, so
	// nothing here may lead to the File, whose loss is what tells of a leak.
	id         uint64
	stack      *stack  // nil below Stacks
	opened     int64   // as [now] gives it; 0 outside the table
	prev, next *holder // in core.first's list, under the shard's lock
}

// root reports whether h uses the description's own offset, as the first handle does.
func (h *holder) root() bool { return h == &h.core.origin }

const (
	closedBit = math.MinInt64
	goneBit   = 1 << 62
)

// acquire begins an operation. It reports false if the holder is closed.
func (h *holder) acquire() bool {
	return h.word.Add(1) > 0 || h.refuse()
}

// refuse takes back the addition of an acquire that found the holder closed. It
// is apart so that acquire can be inlined.
func (h *holder) refuse() bool {
	h.core.reg.step("refused")
	h.release()
	return false
}

// release ends an operation, or backs out of a refused one.
func (h *holder) release() {
	if h.word.Add(-1) == closedBit {
		h.retire()
	}
}

// retire drops the core's reference for a holder that was closed while
// operations were inside. Its Close has long returned, so that a failure to
// close the descriptor has nobody to go to but the log.
func (h *holder) retire() {
	h.core.reg.step("retire")
	if h.word.CompareAndSwap(closedBit, closedBit|goneBit) {
		h.core.dropLate(h)
	}
}

// close closes the holder. It reports whether it was the first to do so, and
// whether it falls to the caller to drop the core's reference.
func (h *holder) close() (first, drop bool) {
	for {
		v := h.word.Load()
		h.core.reg.step("close")
		switch {
		case v < 0:
			return false, false
		case v == 0:
			if h.word.CompareAndSwap(0, closedBit|goneBit) {
				return true, true
			}
		case h.word.CompareAndSwap(v, v|closedBit):
			return true, false
		}
	}
}

// state returns how many operations are inside, and whether the holder is closed.
func (h *holder) state() (ops int, closed bool) {
	v := h.word.Load()
	return int(v & (goneBit - 1)), v < 0
}
