// SPDX-License-Identifier: MIT

package execsafe

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A stream is our end of one output pipe and what becomes of its bytes. One
// goroutine drains it, from the start of the child to the end of the pipe.
type stream struct {
	p        *Process
	src      Source
	file     *os.File
	raw      syscall.RawConn
	polled   bool // a read that waits can be interrupted
	ended    bool // as the supervisor knows
	tees     []*tee
	programs sync.Mutex // held by each Write of a Program
	feed     *feed      // Lines takes the bytes too; may be nil
	hot      []byte     // what is read into; nil while nothing is read
	wide     bool       // the pipe has been asked to hold more
	finished bool       // drain has returned; these are for its own goroutine

	deadline sync.Mutex // guards the read deadline of file and what it stands for:
	cut      bool       // the end, not just a look at the other stream
	released bool       // nothing any more

	mu      sync.Mutex
	store   store // guarded by mu until it is taken
	taken   bool
	over    bool         // the limit has been reported
	total   atomic.Int64 // store.total, for those without mu
	heldUp  atomic.Int32 // tees that the drain is waiting for
	feeding atomic.Bool  // the drain is waiting for the body of a Lines loop
	held    atomic.Bool  // the pipe had not ended when the drain did
}

// drain reads until the pipe ends, or until the run is over and what was in the
// pipe at that time has been read.
func (s *stream) drain() {
	if s.file == nil { // a Program writes into the stream itself, until it exits
		<-s.p.exit
		s.programs.Lock()
		defer s.programs.Unlock()
	} else {
		err := s.readAll()
		for err != nil && isTimeout(err) && s.look() {
			err = s.readAll()
		}
		if err != nil && isTimeout(err) {
			s.held.Store(s.readRest())
		}
		s.free()
	}
	for _, t := range s.tees {
		t.finish()
	}
	if s.feed != nil {
		s.feed.put(s, nil)
	}
	s.finished = true
	leave := s.held.Load() && s.p.leaving()
	s.p.drained <- s
	if leave { // closing the pipe would kill with SIGPIPE what is meant to live
		s.release()
		go func() {
			_, _ = io.Copy(io.Discard, s.file)
			_ = s.file.Close()
		}()
	} else if s.file != nil {
		_ = s.file.Close()
	}
}

// interrupt has a read that waits give up for good, and reports whether it can.
func (s *stream) interrupt() bool {
	s.deadline.Lock()
	defer s.deadline.Unlock()
	if s.file == nil || s.released {
		return true
	}
	s.cut = true
	return interrupts && !errors.Is(s.file.SetReadDeadline(time.Unix(1, 0)), os.ErrNoDeadline)
}

// wake has a read that waits look after the other stream.
func (s *stream) wake() {
	s.deadline.Lock()
	defer s.deadline.Unlock()
	if !s.cut && !s.released {
		_ = s.file.SetReadDeadline(time.Unix(1, 0))
	}
}

// look does that, after a read has been interrupted, and reports whether to read on.
func (s *stream) look() bool {
	s.deadline.Lock()
	cut := s.cut
	if !cut {
		_ = s.file.SetReadDeadline(time.Time{})
	}
	s.deadline.Unlock()
	if !cut {
		s.feed.others()
	}
	return !cut
}

func (s *stream) release() {
	s.deadline.Lock()
	defer s.deadline.Unlock()
	s.released = true
	_ = s.file.SetReadDeadline(time.Time{})
}

// ownedByLoop reports whether the loop over Lines is to drain s by itself.
func (s *stream) ownedByLoop() bool {
	return s.feed != nil && s.src == FromStdout && s.polled
}

// room returns where to read: right into the place of the oldest bytes of the tail
// if these are a whole chunk, and otherwise into a buffer that stays in the
// processor's cache, for the store to copy from.
func (s *stream) room() []byte {
	if s.polled { // else the read may be abandoned, and must not find what has been taken
		s.mu.Lock()
		defer s.mu.Unlock()
		if c := s.store.oldest(); c != nil && !s.taken {
			return c
		}
	}
	if s.hot == nil {
		s.hot = newChunk()
	}
	return s.hot
}

// free gives the buffer back, so that a silent stream holds none.
func (s *stream) free() {
	if s.hot != nil {
		freeChunk(s.hot)
		s.hot = nil
	}
}

// took says that p, at most a chunk, has been read.
func (s *stream) took(p []byte) {
	s.mu.Lock()
	if s.taken {
		s.mu.Unlock()
		return
	}
	over, err := s.store.put(p)
	s.total.Store(s.store.total)
	limit := over && !s.over
	s.over = s.over || over
	s.mu.Unlock()

	s.p.heard()
	if err != nil {
		s.p.fail(WriterFailed, err)
	} else if limit {
		s.p.fail(OutputLimited, limitError(s.store.limit, s.src))
	}
	for _, t := range s.tees {
		t.put(p)
	}
	if s.feed != nil {
		s.feeding.Store(true)
		s.feed.put(s, p)
		s.feeding.Store(false)
		s.p.heard()
	}
}

// take ends the capture and returns it. A drain that is still stuck, which only
// happens where a read cannot be interrupted, no longer changes anything.
func (s *stream) take() *Output {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = true
	return s.store.output()
}
