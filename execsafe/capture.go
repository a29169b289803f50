// SPDX-License-Identifier: MIT

package execsafe

import (
	"fmt"
	"io"
	"os"
)

// A Capture says how much of a stream is kept. The zero Capture is All(64 MiB).
// Sizes are in bytes and exact. Captures may be copied and shared between runs.
type Capture struct {
	kind       captureKind
	head, tail int64 // what is kept in memory, from the start and from the end
	limit      int64 // All, Spill: the total at which the command is stopped
	dir        string
	tees       []io.Writer
}

type captureKind uint8

const (
	kindDefault captureKind = iota
	kindAll
	kindLossy
	kindSpill
)

const defaultLimit = 64 << 20

// All keeps everything. A command that writes more than limit bytes is stopped
// with [ErrOutputLimit]; the first limit bytes stay in the result.
func All(limit int64) Capture { return Capture{kind: kindAll, head: limit, limit: limit} }

// Head keeps the first n bytes and never stops the command.
func Head(n int64) Capture { return Capture{kind: kindLossy, head: n} }

// Tail keeps the last n bytes and never stops the command.
func Tail(n int64) Capture { return Capture{kind: kindLossy, tail: n} }

// HeadTail keeps the first head and the last tail bytes and never stops the
// command. [Output.Gap] tells where they meet.
func HeadTail(head, tail int64) Capture { return Capture{kind: kindLossy, head: head, tail: tail} }

// Discard keeps nothing, and counts.
func Discard() Capture { return Capture{kind: kindLossy} }

// Spill keeps everything: the first memory bytes in memory, the rest in an unlinked
// temporary file in dir ("": [os.TempDir]), which [Output.Close] gives back. A command
// that writes more than limit bytes is stopped with [ErrOutputLimit], and one whose
// output the file system refuses with [ErrWriter] and the refusal (ENOSPC, say).
// What was read until then stays in the result.
func Spill(dir string, memory, limit int64) Capture {
	return Capture{kind: kindSpill, head: memory, limit: limit, dir: dir}
}

// Tee also hands every chunk to w as it arrives, whatever c keeps. It may be
// applied more than once.
//
// Each run calls w from one goroutine of its own, with a buffer that w may read
// until it returns. A slow w slows the child down once two chunks, of up to 64 KiB,
// wait for it: these are the memory that a Tee takes beside what c keeps. If w fails,
// panics or writes short, the command is stopped with [ErrWriter]. Once the run has
// been stopped or the child has exited, a Write that does not return within Linger is
// abandoned, with [ErrWriter] too: it may still be running after Run has returned, but
// is not called again. Until then, and without a Timeout or a context that ends, a
// Write that does not return holds the command up for as long.
func (c Capture) Tee(w io.Writer) Capture {
	c.tees = append(c.tees[:len(c.tees):len(c.tees)], w)
	return c
}

// resolve checks c and puts def in the place of the zero kind.
func (c Capture) resolve(name string, def Capture) (Capture, error) {
	if c.kind == kindDefault {
		tees := c.tees
		c = def
		c.tees = tees
	}
	if c.head < 0 || c.tail < 0 || c.limit < 0 {
		return c, fmt.Errorf("%w: Runner.%s: negative size", ErrInvalid, name)
	}
	for _, w := range c.tees {
		if w == nil {
			return c, fmt.Errorf("%w: Runner.%s: Tee of a nil writer", ErrInvalid, name)
		}
	}
	if c.kind == kindSpill {
		c.head = min(c.head, c.limit)
		if c.dir == "" {
			c.dir = os.TempDir()
		}
		if fi, err := os.Stat(c.dir); err != nil {
			return c, fmt.Errorf("%w: Runner.%s: Spill: %w", ErrInvalid, name, err)
		} else if !fi.IsDir() {
			return c, fmt.Errorf("%w: Runner.%s: Spill: %s is not a directory", ErrInvalid, name, c.dir)
		}
	}
	return c, nil
}
