// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

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
	ctx     context.Context // of appends that wait for room
	giveUp  context.CancelFunc
	active  bool
	appends uint64
	lost    uint64       // records known to be lost, and told
	tail    outbox.Range // lost before openSpill, behind what is left: not yet told
}

// openSpill takes over what an earlier Pump left.
func (p *Pump) openSpill() error {
	s := &p.spill
	s.Queue = p.cfg.Spill
	s.ctx, s.giveUp = context.WithCancel(context.Background())
	err := s.Rewind()
	loss := s.Loss()
	s.lost, s.active = loss.Records, s.Len() > 0
	if n := len(loss.Ranges); n > 0 && s.active && err == nil {
		first, ok, nextErr := s.TryNext()
		if last := loss.Ranges[n-1]; ok && last.First > first.Seq {
			s.tail = last
		}
		err = errors.Join(nextErr, s.Rewind())
	}
	if err != nil {
		return fmt.Errorf("tcpdrain: spill: %w", err)
	}
	return nil
}

// spillLocked lets go of mu for the append. If that fails b is kept to be taken
// last: it has left the kernel, and nobody else has it.
func (p *Pump) spillLocked(b []byte) error {
	s := &p.spill
	if p.stop.Load()&stopClosed != 0 {
		return net.ErrClosed // the next Pump may have the queue by now
	}
	s.active = true
	s.appends++
	p.mu.Unlock()
	_, err := s.AppendContext(s.ctx, b)
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
// meanwhile. rd is held. A hole is an error once, where it is: the call after that
// goes on behind it.
func (p *Pump) unspillLocked() error {
	s := &p.spill
	before := s.appends
	p.mu.Unlock()
	rec, ok, err := s.TryNext()
	loss := s.Loss()
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
	return s.missing(loss, ok, rec.Seq)
}

// missing returns an error if records are lost that are older than seq, or, if there
// is no such record, than whatever comes.
func (s *spill) missing(loss outbox.Loss, ok bool, seq uint64) error {
	n := loss.Records - s.lost
	s.lost = loss.Records
	if s.tail.Records > 0 && (!ok || seq > s.tail.First) {
		n += s.tail.Records
		s.tail = outbox.Range{}
	}
	if n == 0 {
		return nil
	}
	if loss.Ranges[len(loss.Ranges)-1].Reason == outbox.Dropped {
		return fmt.Errorf("%w: %d records of the spill were dropped to make room", ErrHole, n)
	}
	return fmt.Errorf("%w: %d records of the spill: %w", ErrHole, n, outbox.ErrCorrupt)
}
