// SPDX-License-Identifier: MIT

// Package outbox is a durable FIFO on local disk, for messages that a slow or
// absent client has not acknowledged.
//
// A server appends what it owes a client, and [Queue.Deliver] sends it: in order,
// over this connection or the next, until the client has said that it has it. The
// queue holds what is owed meanwhile, through restarts and crashes, within a bound.
//
// # Guarantees
//
// What survives what:
//
//	                         kill -9, panic, OOM kill    power cut, kernel panic
//	record, Append returned  yes, under every policy     once durable: see Config.Sync
//	Ack returned             yes                         once durable: until then the record
//	                                                     is delivered again
//
// The first column holds since both go to the kernel's page cache before the call
// returns: nothing is buffered in the process.
//
//   - At least once: a record is delivered again after a crash, Rewind or reconnect
//     unless its acknowledgement survived. It is never passed over unless it was
//     acknowledged, damaged or, under [DropOldest], given up; the last two are in [Loss].
//   - First in, first out, across segments, restarts and connections.
//   - No wrong byte: each record carries a CRC32C, which is checked on every read.
//   - [Open] succeeds after a torn write, a flipped bit, a page of zeros, a missing
//     or foreign segment file, or a lost cursor. It costs the records that were hit.
//   - Once an fsync has failed, nothing is reported durable any more: [ErrPoisoned].
//   - Sequence numbers are never given twice, so a client may pass over those at or
//     below the highest it has acted on. After a power cut some are left out.
//   - Memory is bounded whatever the backlog: two read buffers of 288 KiB together,
//     1 MiB of mapped file, and 32 bytes per segment; out-of-order acknowledgements
//     take memory by the gap, up to 16,384 gaps. A queue has up to six files open.
//
// # What it does not do
//
// It is not exactly once, which no queue can be without the client's help. It does
// not index, filter or expire records. It believes the disk: a medium that confirms
// what it has not stored (a volatile write cache) loses what it said was durable.
// A CRC is no signature: who can write to the directory can forge records. NFS and
// other network file systems are as good as their locks and fsync, and not tested.
// A directory that is put back from a backup is a queue of the past: it delivers again,
// and gives sequence numbers to new records that the client has seen on others.
//
// # Platforms
//
// On Linux, with ext4, XFS or tmpfs, records are stored to shared memory mapped
// from blocks that have been allocated, which takes no system call. On other file
// systems and platforms each Append is one write, with the same guarantees. The
// directory is locked with flock on Linux, macOS and the BSDs, with LockFileEx on
// Windows; elsewhere Open returns [errors.ErrUnsupported]. Without a boot identifier
// (other than Linux) any death of the process counts as a power cut where sequence
// numbers are concerned. On Windows, which refuses to remove open files, a segment may stay
// until the next Open.
package outbox
