// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"errors"
	"io"
	"net"
	"time"
)

// run spills what was read ahead, and drains until the end. Nobody else adds data.
func (p *Pump) run(ahead []byte) {
	defer close(p.done)
	defer p.turns.close()
	var err error
	if len(ahead) > 0 {
		p.mu.Lock()
		err = p.spillLocked(ahead)
		p.mu.Unlock()
	}
	for spent := 0; err == nil; {
		var limit, n int
		if limit, err = p.awaitRoom(); err != nil {
			break
		}
		n, err = p.readSome(limit)
		if p.waited {
			spent = 0
		}
		if spent += n; spent >= p.cfg.Budget && p.turns.due() {
			spent = 0
			p.mu.Lock()
			p.stats.BudgetHits++
			p.mu.Unlock()
			p.turns.turn()
			if p.raw == nil {
				p.turns.close() // Read may wait, and does not say so
			}
		}
	}
	p.mu.Lock()
	p.end = err
	p.mu.Unlock()
	nudge(p.wake)
}

// awaitRoom waits while there is no room, and says how much may be read at once.
func (p *Pump) awaitRoom() (limit int, err error) {
	for {
		p.mu.Lock()
		room := p.cfg.Max - p.held
		switch {
		case p.stop.Load()&stopClosed != 0:
			err = net.ErrClosed
		case p.cfg.Full == Spill:
			limit = p.cfg.Chunk
		case p.cfg.Full == Fail && room < 0:
			err = ErrFull
		case p.cfg.Full == Fail:
			limit = int(min(room+1, int64(p.cfg.Chunk))) // one more is the proof that it was too much
		case p.stalled.IsZero() && room > 0:
			limit = int(min(room, int64(p.cfg.Chunk)))
		case p.stalled.IsZero():
			p.stalled = time.Now()
			p.stats.Stalls++
		case p.held <= p.cfg.Resume:
			stall, zero := p.stallLocked()
			p.stats.StallTime += stall
			if zero > 0 {
				p.stats.ZeroWindows++
				p.stats.ZeroWindowTime += zero
			}
			p.stalled = time.Time{}
			limit = int(min(room, int64(p.cfg.Chunk)))
		}
		p.mu.Unlock()
		if limit > 0 || err != nil {
			return limit, err
		}
		p.turns.close()
		<-p.room
	}
}

// stallLocked measures the present stall. The kernel keeps no clock for a closed
// window, but no data can have come since it closed.
func (p *Pump) stallLocked() (stall, zero time.Duration) {
	stall = time.Since(p.stalled)
	if w, ok := p.window(); ok && w.zero {
		zero = max(min(stall, w.idle), 1)
	}
	return stall, zero
}

// readSome waits for data, reads once, and hands over what came.
func (p *Pump) readSome(limit int) (n int, err error) {
	p.limit, p.waited = limit, false
	if p.raw == nil {
		p.got, p.err = p.readOnce()
	} else if err := p.wait(p.onReady); err != nil {
		return 0, err
	}
	n, err = p.got, p.err
	if spillErr := p.commit(n, err); spillErr != nil {
		err = spillErr
	}
	return n, err
}

// readReady runs inside RawConn.Read, which keeps Close waiting: no disk, nobody
// else's code, and no second read after one that found something.
func (p *Pump) readReady(fd uintptr) bool {
	p.got, p.err = p.readNow(fd, p.acquire())
	if p.err == errAgain {
		p.turns.close() // an idle connection costs no descriptors
		p.commit(0, errAgain)
		p.waited = true
		return false
	}
	return true
}

func (p *Pump) readOnce() (n int, err error) {
	const patience = 100 // as bufio has with a Read that gives nothing
	room := p.acquire()
	for range patience {
		n, err = p.conn.Read(room)
		if errors.Is(err, io.EOF) {
			err = io.EOF
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// acquire makes filling a chunk with room, and returns the room. It is the youngest
// one as long as a quarter of that is left, so that many small reads share a chunk,
// and what is held needs at most a third more memory than it has bytes.
func (p *Pump) acquire() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.tail; c != nil && len(c.buf)-c.w > len(c.buf)/4 {
		p.filling = c
	} else {
		p.filling = newChunk(p.cfg.Chunk)
	}
	room := p.filling.buf[p.filling.w:]
	return room[:min(len(room), p.limit)]
}

// commit counts a read, hands the n bytes it left in filling to the callers or to
// the spill, and lets go of filling. The error is the spill's.
func (p *Pump) commit(n int, readErr error) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.filling
	p.stats.Reads++
	p.stats.Bytes += int64(n)
	switch {
	case readErr == errAgain:
		p.stats.Eagains++
	case p.waited:
		p.stats.Wakes++
	}
	switch {
	case n == 0 || p.stop.Load()&stopClosed != 0:
	case p.cfg.Full == Spill && (p.spill.active || p.held+int64(n) > p.cfg.Max):
		err = p.spillLocked(c.buf[c.w : c.w+n])
		nudge(p.wake)
	default:
		c.w += n
		p.held += int64(n)
		p.stats.MostHeld = max(p.stats.MostHeld, p.held)
		if c != p.tail {
			p.pushLocked(c)
		}
		nudge(p.wake)
	}
	p.filling = nil
	p.dropLocked(c)
	return err
}

func (p *Pump) pushLocked(c *chunk) {
	if p.tail == nil {
		p.head = c
	} else {
		p.tail.next = c
	}
	p.tail = c
}

// dropLocked frees c if nobody needs it any more. In the list, only the oldest
// chunk can be empty.
func (p *Pump) dropLocked(c *chunk) {
	if c.r < c.w || c.pinned || c == p.filling {
		return
	}
	if c == p.head {
		if p.head = c.next; p.head == nil {
			p.tail = nil
		}
	}
	c.free()
}
