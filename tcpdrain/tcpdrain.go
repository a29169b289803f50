// SPDX-License-Identifier: MIT

// Package tcpdrain reads a stream socket until the kernel has nothing left, apart
// from the work that is done with what was read.
//
// A receiver that reads a little, works, and reads a little more lets its receive
// buffer fill. TCP then advertises a zero window (RFC 9293 §3.8.6), the sender's
// buffer fills too, and a sender that does not block sees EAGAIN and may hang up.
// A [Pump] prevents that: it is a [net.Conn] whose own goroutine keeps the kernel's
// buffer empty while the caller works, within a bound, and with a choice of what
// happens past the bound. A [Reader] is the same drain without a goroutine, for
// programs that keep reading and working apart themselves.
//
// # Guarantees
//
//   - Bytes come in order, each once, and before the error or end of stream that
//     followed them. An error from the socket, and the end of the stream, last.
//   - A Reader or Pump waits only after the kernel itself said EAGAIN, and holds no
//     buffer while it waits. (One that falls back to Read holds a chunk.)
//   - A Pump holds at most Max bytes, beside the prefix and the batch its caller has in
//     hand, and one that had to stop reading starts again by itself.
//   - A deadline or Close ends a wait, as [net.Conn] documents.
//   - SO_RCVBUF is left alone: setting it would turn the kernel's autotuning off.
//
// # What it does not do
//
// Draining moves the backlog from the kernel into the program; it does not make the
// work faster. A caller that is slower than its peer for ever needs a policy that
// says so: Block slows the peer down, Spill needs disk, Fail gives up.
//
// What the peer's kernel had not yet sent when the peer reset the connection is
// lost; nobody can read it.
//
// # Platforms
//
// On Linux, the BSDs and macOS a [*net.TCPConn] or stream [*net.UnixConn] is read
// through [syscall.RawConn]. Everywhere else, and for every other kind of
// connection (TLS, [net.Pipe], and wrappers, even one that embeds a *net.TCPConn),
// plain Read is used: see [Reader.Fallback]. Zero windows are seen on Linux 6.2
// and later.
package tcpdrain

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// ErrFull ends a [Pump] whose policy is [Fail] and whose caller let more than
// Config.Max bytes collect, and a [CloseGraceful] whose peer went on sending.
var ErrFull = errors.New("tcpdrain: too much unread data")

// ErrHole is returned, wrapped, by the methods of a [Pump] that take from a
// Config.Spill some of whose records are lost: damaged, which is an
// [outbox.ErrCorrupt] too, or dropped under [outbox.DropOldest]. It comes once, where
// the hole is; the next call goes on behind it.
var ErrHole = errors.New("tcpdrain: a hole in the stream")

// ErrNotStream is returned, wrapped, by [NewReader] and [NewPump] for a connection
// that carries messages: a short read from one of those loses data.
var ErrNotStream = errors.New("tcpdrain: not a stream connection")

// A Config says how much to read at once and how much to hold. The zero value is
// ready to use. [NewReader] uses Chunk, Budget and Prefix alone.
type Config struct {
	Chunk  int // most bytes to ask of one read(2). 0: 64 KiB
	Budget int // most bytes one drain takes before it gives others a turn. 0: 1 MiB

	Max    int64  // most unread bytes a Pump holds in memory. 0: 4 MiB
	Resume int64  // a Pump that stopped at Max reads on at this many. 0: Max/4
	Full   Policy // what a Pump does at Max

	// Spill takes what does not fit into Max, under the policy [Spill], and no
	// other. The Pump appends to it, takes from it and acknowledges; nobody else
	// may until Close or CloseGraceful of the Pump has returned. It stays open. What is
	// left in it is what the next Pump gives first, with no mark between the streams;
	// what was in memory, which is older, is lost with the Pump. Each read is a record
	// with a header of 16 bytes, so a peer that sends single bytes costs that much.
	Spill *outbox.Queue

	// Prefix is what somebody else had read from the connection already, such as
	// the bytes a [bufio.Reader] holds after a hijack. It comes first, and counts
	// towards neither Budget nor Max. It is copied.
	Prefix []byte
}

// A Policy says what a [Pump] does when it holds Config.Max bytes.
type Policy int

const (
	// Block stops reading until the caller has come down to Resume. The kernel's
	// buffer fills and its window closes, which slows the peer down, or makes a
	// peer that does not block hang up.
	Block Policy = iota
	// Spill appends to Config.Spill, and goes on doing so until the caller has
	// taken everything from there, so that order is kept.
	Spill
	// Fail ends the Pump with ErrFull, once the caller has taken what is held: Max
	// bytes and the one that was too much.
	Fail
)

// String returns the policy's name.
func (p Policy) String() string {
	switch p {
	case Block:
		return "Block"
	case Spill:
		return "Spill"
	case Fail:
		return "Fail"
	}
	return fmt.Sprintf("Policy(%d)", int(p))
}

// A State says why a drain that gave no error stopped.
type State int

const (
	// Empty: the kernel said EAGAIN, so its buffer was empty. From a reader that
	// fell back to Read: one Read returned.
	Empty State = iota
	// More: the budget was spent first, or an error follows. Drain again.
	More
	// EOF: the peer will send no more, and every further drain says so again. What
	// was appended by the same call came before it.
	EOF
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Empty:
		return "Empty"
	case More:
		return "More"
	case EOF:
		return "EOF"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Stats counts what a [Reader] or [Pump] did. A Reader leaves the fields that
// speak of holding at zero. Stalls, StallTime and the zero windows are the
// evidence that this side, not the peer or the network, is the slow one.
type Stats struct {
	Bytes      int64 // read from the connection
	Wakes      int64 // times it waited and then found something
	Reads      int64 // calls of read(2) (or Read), those that found nothing included
	Eagains    int64 // calls that found nothing
	BudgetHits int64 // times it stopped, or gave others a turn, before the kernel's buffer was empty

	Held      int64         // bytes in memory, not yet handed out
	MostHeld  int64         // the most there ever were
	Spilled   int64         // bytes that went to Config.Spill, all told
	Stalls    int64         // times reading stopped because Max was reached
	StallTime time.Duration // how long, the present stall included

	// A stall closes the window only if the peer goes on sending. These say
	// whether it did, from TCP_INFO (tcp(7)); where that tells nothing, they
	// stay zero.
	ZeroWindow     bool          // the receive window is zero now; asks the kernel
	ZeroWindows    int64         // stalls in which it was
	ZeroWindowTime time.Duration // for how long, to the millisecond, the present one included
}

func (c Config) withDefaults() (Config, error) {
	type field struct {
		name  string
		value int64
	}
	for _, f := range []field{{"Chunk", int64(c.Chunk)}, {"Budget", int64(c.Budget)}, {"Max", c.Max}, {"Resume", c.Resume}} {
		if f.value < 0 {
			return c, fmt.Errorf("tcpdrain: Config.%s is negative: %d", f.name, f.value)
		}
	}
	if c.Chunk == 0 {
		c.Chunk = 64 << 10
	}
	if c.Chunk > maxChunk {
		return c, fmt.Errorf("tcpdrain: Config.Chunk is %d, more than %d", c.Chunk, maxChunk)
	}
	if c.Budget == 0 {
		c.Budget = 1 << 20
	}
	if c.Max == 0 {
		c.Max = 4 << 20
	}
	if c.Max > math.MaxInt64/2 {
		c.Max = math.MaxInt64 / 2 // room for sums
	}
	if c.Resume == 0 {
		c.Resume = c.Max / 4
	}
	if c.Resume > c.Max {
		return c, fmt.Errorf("tcpdrain: Config.Resume is %d, more than Config.Max, %d", c.Resume, c.Max)
	}
	switch {
	case c.Full < Block || c.Full > Fail:
		return c, fmt.Errorf("tcpdrain: Config.Full is %v", c.Full)
	case c.Full == Spill && c.Spill == nil:
		return c, errors.New("tcpdrain: Config.Full is Spill, but Config.Spill is nil")
	case c.Full != Spill && c.Spill != nil:
		return c, fmt.Errorf("tcpdrain: Config.Spill is set, but Config.Full is %v", c.Full)
	}
	return c, nil
}
