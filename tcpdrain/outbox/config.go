// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Errors that callers match with [errors.Is].
var (
	// ErrFull is returned by [Queue.Append] under [Fail] when the record does not
	// fit below [Config.MaxBytes].
	ErrFull = errors.New("outbox: queue is full")
	// ErrTooLarge is returned by [Queue.Append] for a record that can never fit:
	// longer than [MaxRecord], or than [Config.MaxBytes].
	ErrTooLarge = errors.New("outbox: record is too large")
	// ErrCorrupt is wrapped by the [CorruptError] that [Queue.Next] returns under [Stop].
	ErrCorrupt = errors.New("outbox: damaged records")
	// ErrPoisoned is returned once the storage has failed to make data durable.
	// It wraps the first failure and does not go away: reopen the queue.
	ErrPoisoned = errors.New("outbox: storage failed, durability unknown")
	// ErrLocked is returned by [Open] while another Queue, in this process or
	// another, has the directory open.
	ErrLocked = errors.New("outbox: queue is in use")
	// ErrUnknownSeq is returned by [Queue.Ack] for a sequence number that no
	// record has.
	ErrUnknownSeq = errors.New("outbox: no record has this sequence number")
	// ErrGaps is returned by [Queue.Ack] when the acknowledged records are
	// scattered over more than 16,384 separate ranges. Nothing has changed:
	// acknowledge the oldest outstanding records first.
	ErrGaps = errors.New("outbox: too many gaps between acknowledged records")
)

// MaxRecord is the length of the longest record in bytes.
const MaxRecord = 1<<30 - 1

// A Config says how a queue stores, syncs and bounds itself. The zero value is
// ready to use: segments of 64 MiB, no bound, an fsync each 2,500 records or
// second, damaged records skipped and counted, no log.
type Config struct {
	// SegmentBytes is the size at which a new segment file is begun. A record
	// that is longer has a segment to itself. 0 means 64 MiB, or an eighth of
	// MaxBytes if that is less; anything below 4 KiB means 4 KiB, above 1 GiB 1 GiB.
	SegmentBytes int64
	// MaxBytes bounds [Queue.Bytes], what the queue holds from the oldest
	// unacknowledged record on, 16 bytes of header per record included. Segments
	// are removed whole, so the directory may hold up to one segment more.
	// 0 means no bound.
	MaxBytes int64
	// Full says what Append does at MaxBytes.
	Full Policy
	// Sync says when records are made durable. nil means Every{}.
	Sync SyncPolicy
	// OnCorrupt says what Next does at damaged records.
	OnCorrupt CorruptPolicy
	// Logger is told of damage, recovery and poisoning. nil means silence.
	Logger *slog.Logger
}

// A Policy says what [Queue.Append] does when the queue is full.
type Policy int

const (
	Block      Policy = iota // wait until an Ack makes room, or Close
	Fail                     // return ErrFull
	DropOldest               // give up the oldest unacknowledged records, and count them in Loss
)

// A CorruptPolicy says what [Queue.Next] does when it meets damaged records.
type CorruptPolicy int

const (
	Skip CorruptPolicy = iota // go on with the next intact record; count the lost ones in Loss
	Stop                      // return a *CorruptError each time; Skip, after the next Open, goes on
)

// A SyncPolicy says when an appended record is made durable, which is to say
// survives a power cut. It is one of [Every], [Always] and [Never]. A record
// survives the death of the process, by kill -9 too, as soon as Append has
// returned, under every policy.
type SyncPolicy interface{ bounds() Every }

// Every makes records durable in groups. When Append returns, fewer than Records
// records are not durable, and none stays so for longer than Interval and the
// fsync itself. Zero fields mean 2,500 records and one second; negative ones
// switch that bound off.
type Every struct {
	Records  int
	Interval time.Duration
}

type syncMode int

const (
	// Always makes each record durable before its Append returns. Concurrent
	// Appends share an fsync.
	Always syncMode = 1
	// Never leaves it to [Queue.Sync] and [Queue.Close], except that a segment is
	// made durable, beside the appends that follow, before the next one is complete.
	Never syncMode = 2
)

func (e Every) bounds() Every {
	if e.Records == 0 {
		e.Records = 2500
	}
	if e.Interval == 0 {
		e.Interval = time.Second
	}
	return e
}

func (m syncMode) bounds() Every {
	if m == Always {
		return Every{}.bounds()
	}
	return Every{Records: -1, Interval: -1}
}

// withDefaults checks c and fills in what its zero fields stand for.
func (c Config) withDefaults() (Config, error) {
	if c.SegmentBytes < 0 || c.MaxBytes < 0 {
		return c, fmt.Errorf("outbox: negative size in Config: SegmentBytes %d, MaxBytes %d", c.SegmentBytes, c.MaxBytes)
	}
	if c.Full < Block || c.Full > DropOldest {
		return c, fmt.Errorf("outbox: Config.Full is %d, not one of Block, Fail, DropOldest", c.Full)
	}
	if c.OnCorrupt < Skip || c.OnCorrupt > Stop {
		return c, fmt.Errorf("outbox: Config.OnCorrupt is %d, not one of Skip, Stop", c.OnCorrupt)
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
		if c.MaxBytes > 0 {
			c.SegmentBytes = min(c.SegmentBytes, c.MaxBytes/8)
		}
	}
	c.SegmentBytes = min(max(c.SegmentBytes, 4<<10), 1<<30)
	if c.Sync == nil {
		c.Sync = Every{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
