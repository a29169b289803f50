// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"fmt"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// A spill is Config.Spill in use. Order across the boundary between memory and disk
// rests on two rules:
//
//	(1) while active, whatever is read goes to the spill's tail  [commit]
//	(2) memory is taken before the spill                         [takeLocked]
//
// By (1) what is in memory while the spill is active is older than all of it. Only
// a caller that found the spill empty, with no append under way or come in between,
// ends that state: appends is odd during one.
type spill struct {
	*outbox.Queue
	active  bool
	appends uint64
	lost    uint64 // records known to be lost
}

// openSpill takes over what an earlier Pump left. The prefix is younger than that.
func (p *Pump) openSpill() error {
	s := &p.spill
	s.Queue = p.cfg.Spill
	if err := s.Rewind(); err != nil {
		return fmt.Errorf("tcpdrain: spill: %w", err)
	}
	s.active, s.lost = s.Len() > 0, s.Loss().Records
	if s.active && len(p.cur) > 0 {
		if _, err := s.Append(p.cur); err != nil {
			return fmt.Errorf("tcpdrain: spill: %w", err)
		}
		p.cur = nil
	}
	return nil
}

// spillLocked lets go of mu for the append. If that fails b is kept to be taken
// last: it has left the kernel, and nobody else has it.
func (p *Pump) spillLocked(b []byte) error {
	s := &p.spill
	s.active = true
	s.appends++
	p.mu.Unlock()
	_, err := s.Append(b)
	p.mu.Lock()
	s.appends++
	if err != nil {
		p.last = bytes.Clone(b)
		return fmt.Errorf("tcpdrain: spill: %w", err)
	}
	p.stats.Spilled += int64(len(b))
	return nil
}

// unspillLocked takes the oldest record into cur, if there is one; it lets go of mu
// meanwhile. rd is held. Damage is an error once, where the hole is: the call after
// that goes on behind it.
func (p *Pump) unspillLocked() error {
	s := &p.spill
	before := s.appends
	p.mu.Unlock()
	rec, ok, err := s.TryNext()
	lost := s.Loss().Records
	p.mu.Lock()
	if err != nil {
		return fmt.Errorf("tcpdrain: spill: %w", err)
	}
	if ok {
		p.cur, p.pin = rec.Data, batch{seq: rec.Seq, spilled: true}
		nudge(p.wake) // the caller's own, in case the record is empty
	} else if s.appends == before && before%2 == 0 {
		s.active = false
	}
	if n := lost - s.lost; n > 0 {
		s.lost = lost
		return fmt.Errorf("tcpdrain: spill: %d records are missing from the stream: %w", n, outbox.ErrCorrupt)
	}
	return nil
}
