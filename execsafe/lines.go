// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"iter"
	"os/exec"
	"time"
)

// Lines starts cmd when the loop over it begins, and yields each line of its output
// as it arrives, from both streams; lines of one stream are in their order. A line
// longer than MaxLine bytes comes in pieces of that size, all but the last Partial.
// "\n" and "\r\n" end a line, and so does the end of the stream. All other bytes are
// kept as they are.
//
// A slow loop slows the command down once a pipe is full, as the loop is what reads
// it; a pipe that was full once holds 128 KiB from then on, where Linux lets it.
// Nothing is dropped, also not what is left when the command is stopped. The bounds
// of the Runner stop the command while the body runs, but do not interrupt the body.
// If the command fails, or does not start, the last pair is (Line{}, err) with the
// error that [Runner.Run] would return. Leaving the loop stops the command as the end
// of a context would, and does not go on before it is reaped.
//
// What the Result in that error holds of the output is up to the Captures; where
// they are zero, it is the last 32 KiB of each stream.
func (r Runner) Lines(ctx context.Context, cmd *exec.Cmd) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		f := newFeed(yield)
		p, err := r.start(ctx, cmd, options{feed: f})
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer func() { // also if the loop's body panics
			f.leave()
			if f.own != nil && !f.own.finished {
				f.own.drain()
			}
			<-p.done
		}()
		if f.own != nil {
			f.own.drain()
		}
		if f.rest() {
			if _, err := p.Wait(); err != nil {
				yield(Line{}, err)
			}
		}
	}
}

// A feed takes pieces of output to the loop over Lines. Where a read can be
// interrupted, the loop's own goroutine drains stdout, as to hand each piece to
// another goroutine takes longer than to split it. The other stream is drained by a
// goroutine of its own, which wakes the loop and waits until it is done with a piece.
type feed struct {
	p     *Process
	own   *stream // nil: each stream has a goroutine
	yield func(Line, error) bool
	split [2]splitter // by Source
	open  int         // streams that have not ended
	left  bool        // the loop has been left

	full chan batch       // has room for one of each stream
	done [2]chan struct{} // by Source: the piece that was received is not used any more
	quit chan struct{}    // closed with left
}

// A batch is a piece of one stream; without text, its end.
type batch struct {
	src  Source
	time time.Time
	text []byte
}

func newFeed(yield func(Line, error) bool) *feed {
	return &feed{yield: yield, full: make(chan batch, 2), done: [2]chan struct{}{make(chan struct{}), make(chan struct{})}, quit: make(chan struct{})}
}

// attach tells f of one more stream of p.
func (f *feed) attach(p *Process) {
	f.p = p
	f.open++
	maxLine := p.r.MaxLine
	if maxLine == 0 {
		maxLine = defaultMaxLine
	}
	f.split = [2]splitter{{max: maxLine}, {max: maxLine}}
}

// put brings a piece of s to the loop and waits until that is done with it.
func (f *feed) put(s *stream, p []byte) {
	b := batch{s.src, time.Now(), p}
	if s == f.own {
		f.take(b)
		return
	}
	select {
	case <-f.quit: // full may still hold a piece that nobody takes
		return
	default:
	}
	f.full <- b
	if f.own != nil {
		f.own.wake()
	}
	select {
	case <-f.done[s.src]:
	case <-f.quit:
	}
}

// take yields the lines that b ends.
func (f *feed) take(b batch) {
	if f.left {
		return
	}
	l := Line{Source: b.src, Time: b.time}
	line := func(text []byte, partial bool) bool {
		l.Text, l.Partial = text, partial
		return f.yield(l, nil)
	}
	split := &f.split[b.src]
	ok := true
	if b.text == nil {
		f.open--
		ok = split.flush(line)
	} else {
		ok = split.split(b.text, line)
	}
	if !ok {
		f.leave()
	}
}

func (f *feed) received(b batch) {
	f.take(b)
	if !f.left {
		f.done[b.src] <- struct{}{}
	}
}

// others takes what waits of the stream that the loop does not drain itself.
func (f *feed) others() {
	for {
		select {
		case b := <-f.full:
			f.received(b)
		default:
			return
		}
	}
}

// rest takes what is left, and reports whether the loop wants to go on.
func (f *feed) rest() bool {
	for f.open > 0 && !f.left {
		select {
		case b := <-f.full:
			f.received(b)
		case <-f.p.done: // a read that could not be interrupted was left behind
			return true
		}
	}
	return !f.left
}

// leave stops the command. What the drains still read is not yielded.
func (f *feed) leave() {
	if !f.left {
		f.left = true
		close(f.quit)
		f.p.fail(Canceled, ErrStopped)
	}
}
