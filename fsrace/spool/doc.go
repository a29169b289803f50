// SPDX-License-Identifier: MIT

// Package spool lets many processes on many hosts share a directory of jobs, each
// of which is claimed by one of them at a time and says by whom.
//
// A producer calls [Spool.Put]. A worker calls [Spool.Claim], does the work and ends
// the claim: [Claim.Done], [Claim.Fail] for good, [Claim.Retry], or [Claim.Release] if
// it is the worker and not the job that is unfit. What a dead worker held,
// [Spool.Reclaim] gives to others. [Spool.Entries] and [Spool.Workers] show who has
// the spool open and who holds what, so that no instance works in the dark.
//
// # Guarantees
//
//   - A job is in exactly one of new, claimed, done and failed at every instant,
//     whatever is killed when: each step is one rename(2), to a name that nobody
//     else ever uses.
//   - A job can be claimed only when it is whole, and by one worker at a time.
//   - A worker that lost its claim (it was stopped, or cut off, and reclaimed) is
//     told so by [ErrClaimLost], and can move nothing any more.
//   - What a call reports never decides, what is there afterwards does. So a reply
//     that NFS has lost does not lose, repeat or hide a job.
//   - Only proof of death lets a job be taken from a worker, or a broken promise:
//     see [Config.Lease]. Clocks of hosts are never compared for it.
//   - When Put or Fail returns nil, a power failure does not undo it. One may undo the
//     latest Claim, and the latest Done, Release and Retry unless [Config.Durable]:
//     the work is then done again.
//
// # Layout
//
// The jobs are the files in new, claimed, done and failed, named
// NAME~ID~ATTEMPT~GENERATION~WORKER~MOVE. WORKER is the nonce of the instance that
// moved the file there, whose record is in workers, or in retired once it is
// closed or dead. The reason why failed/X failed is in failed/X.reason. Files are
// written in tmp, and format holds the version.
//
// Programs that do not know this package may write a file to a hidden name in new and
// rename it to a name without leading dot, or even write it in place (cp, scp): a
// file without the suffix is claimed when its size and time have not changed for
// [Config.Rescan], which is long enough for a copy that does not stall.
//
// # What it does not do
//
// It keeps no order. It does not notice new jobs of other processes at once, but
// within [Config.Rescan]: inotify(7) is silent about other hosts. It cannot make
// the work's effects outside the spool happen once: a worker may die between the
// effect and Done, and a power failure may undo Done. Use [Claim.ID] as an
// idempotency key, or [Claim.Generation] as a fencing token, for those. It cannot
// prove the death of a process on another host or of another boot, or in another
// PID namespace, nor of an instance that was not closed before its process went on
// (execve(2)): set [Config.Lease], or call [Spool.EvictHost] after a reboot, or
// [Spool.Evict]. A spool grows until [Spool.Prune] is called. Whoever may write to
// the directories may do anything.
//
// # Platforms
//
// It works wherever rename is atomic. Where a process's death cannot be proved (see
// [fsrace.Owner]: all but Linux) reclaiming needs Lease or Evict.
package spool
