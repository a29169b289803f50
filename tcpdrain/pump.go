// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Pump is a net.Conn that reads ahead: its goroutine keeps the kernel's buffer
// empty while the caller works on what came before. Whatever the caller does, the
// peer's window stays open until Config.Max bytes are held, and what happens then
// is Config.Full.
//
// A Pump whose peer never lets it wait gives other goroutines a turn after
// Config.Budget bytes, or an eighth of the time that their last turn took, if that is
// longer. For that it then has two descriptors open, and takes turns of a lesser kind
// without.
//
// All methods are safe for concurrent use, but what Next returned is good only until
// anybody's next call of Next, Read or WriteTo: goroutines that share the stream use
// Read. Writes go to the connection unchanged.
type Pump struct {
	source
	cfg     Config
	onReady func(uintptr) bool // made once, so that a wake allocates nothing

	// Tokens: one says "look again". Whoever takes one and leaves something for
	// others puts one back.
	wake chan struct{} // to callers: data, an end, a deadline, Close
	room chan struct{} // to the goroutine: Resume was reached, or Close
	done chan struct{} // closed when the goroutine ends

	// The caller's side. lent, cur and pin change under rd, which is never held
	// during a wait or while the caller's code runs.
	rd   sync.Mutex
	cur  []byte // what is left of the batch in hand
	pin  batch  // the memory, or spilled record, that cur is part of
	lent bool   // WriteTo's writer has cur

	stop atomic.Uint32 // why a caller must not even look at cur: see the bits below

	mu         sync.Mutex // guards what follows
	head, tail *chunk     // oldest to youngest; an empty one can only be the head
	filling    *chunk     // the goroutine reads into it, past w
	held       int64      // sum of w-r
	spill      spill
	last       []byte      // read after what is spilled, but could not be spilled itself
	end        error       // after all of that: io.EOF or an error
	stalled    time.Time   // since when the goroutine has waited for room; zero: it does not
	timer      *time.Timer // of the read deadline
	stats      Stats

	// The goroutine's own, until done is closed.
	limit  int   // of one read
	got    int   // by it
	err    error // from the connection
	waited bool  // before it
	turns  turnstile
}

const (
	stopExpired = 1 << iota // the read deadline has passed
	stopClosed              // Close was called
)

// NewPump starts draining conn, which is then the Pump's: read from, set deadlines
// on and close the Pump instead. A read deadline that conn has is cleared. What
// Config.Spill holds already is delivered first.
//
// NewPump returns an error wrapping [ErrNotStream] for a connection that carries
// messages, an error that names the field for a Config that makes no sense, and
// the errors of conn and Config.Spill. It then has not read from conn.
func NewPump(conn net.Conn, cfg Config) (*Pump, error) {
	return newPump(conn, cfg, kernel)
}

func newPump(conn net.Conn, cfg Config, k sys) (*Pump, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	src, err := newSource(conn, k)
	if err != nil {
		return nil, err
	}
	p := &Pump{
		source: src,
		cfg:    cfg,
		wake:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		turns:  turnstile{pipe: k.pipe},
	}
	p.onReady = p.readReady
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("tcpdrain: clearing the read deadline: %w", err)
	}
	if p.cfg.Prefix, p.cur = nil, bytes.Clone(cfg.Prefix); cfg.Full == Spill {
		if err := p.openSpill(); err != nil {
			return nil, err
		}
	}
	var ahead []byte
	if p.spill.active { // then the prefix is younger than what is there
		ahead, p.cur = p.cur, nil
	}
	go p.run(ahead)
	return p, nil
}

// Fallback reports that the connection is read with plain Read, because it is not
// one of net's own stream sockets or the platform cannot wait for them. Such a Pump
// holds a chunk while it waits.
func (p *Pump) Fallback() bool { return p.raw == nil }

// Stats returns what the Pump has counted. During a stall, and for ZeroWindow, it
// asks the kernel, which takes a microsecond.
func (p *Pump) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Held = p.held
	w, _ := p.window()
	s.ZeroWindow = w.zero
	if !p.stalled.IsZero() {
		stall, zero := p.stallLocked()
		s.StallTime += stall
		if zero > 0 {
			s.ZeroWindows++
			s.ZeroWindowTime += zero
		}
	}
	return s
}

func nudge(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}
