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
// A slow loop slows the command down once two pieces, of up to 64 KiB, wait for it; nothing is dropped,
// also not what is left when the command is stopped. If the command fails, or does
// not start, the last pair is (Line{}, err) with the error that [Runner.Run] would
// return. Leaving the loop stops the command as the end of a context would, and
// does not go on before it is reaped.
//
// What the Result in that error holds of the output is up to the Captures; where
// they are zero, it is the last 32 KiB of each stream.
func (r Runner) Lines(ctx context.Context, cmd *exec.Cmd) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		f := &feed{full: make(chan batch, feedBuffers+2), free: make(chan []byte, feedBuffers), quit: make(chan struct{})}
		for range feedBuffers {
			f.free <- nil
		}
		p, err := r.start(ctx, cmd, options{feed: f})
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer func() { // also if the loop's body panics
			close(f.quit)
			_ = p.Stop()
		}()
		if f.yield(p, yield) {
			if _, err := p.Wait(); err != nil {
				yield(Line{}, err)
			}
		}
	}
}

// feedBuffers bounds how much output may wait for the loop: 128 KiB.
const feedBuffers = 2

// A feed takes pieces of output from the drains to the loop.
type feed struct {
	full chan batch
	free chan []byte
	quit chan struct{} // closed when the loop has been left
}

// A batch is a piece of one stream; without text, its end.
type batch struct {
	src  Source
	time time.Time
	text []byte
}

func (f *feed) put(src Source, p []byte) {
	select {
	case b := <-f.free:
		if b == nil {
			b = newChunk()
		}
		f.full <- batch{src, time.Now(), append(b[:0], p...)}
	case <-f.quit:
	}
}

// end never waits: full has room for all buffers and the end of both streams.
func (f *feed) end(src Source) { f.full <- batch{src: src, time: time.Now()} }

// yield splits what arrives, and reports whether the loop wants to go on.
func (f *feed) yield(p *Process, yield func(Line, error) bool) bool {
	maxLine := p.r.MaxLine
	if maxLine == 0 {
		maxLine = defaultMaxLine
	}
	split := [2]splitter{{max: maxLine}, {max: maxLine}}
	var b batch
	line := func(text []byte, partial bool) bool {
		return yield(Line{Source: b.src, Time: b.time, Text: text, Partial: partial}, nil)
	}
	open := 0
	for _, s := range p.streams {
		if s != nil {
			open++
		}
	}
	for open > 0 {
		select {
		case b = <-f.full:
		case <-p.done: // a read that could not be interrupted was left behind
			if len(f.full) == 0 {
				return true
			}
			continue
		}
		if b.text == nil {
			open--
			if !split[b.src].flush(line) {
				return false
			}
			continue
		}
		if !split[b.src].split(b.text, line) {
			return false
		}
		f.free <- b.text
	}
	return true
}
