// SPDX-License-Identifier: MIT

// Package fsrace makes directories, files and locks while others do the same, and
// others still remove them. Only what is true afterwards counts: an operation fails
// if its result is not there in the end, and for no other reason. Each function
// stands in for one of package os that a second process can fail.
//
// # Guarantees
//
//   - [MkdirAll] returns an error only if the directory was not there at its last
//     look, whoever else made, removed or replaced any part of the path meanwhile.
//     [MkdirAllIn] holds the same within an [os.Root], and makes nothing outside it.
//   - [Create] and [OpenFile] are never failed by a pruner that only removes empty
//     directories, such as [RemoveEmptyParents].
//   - [WriteFile] and [Pending] show the old file or the new one, whole, also after
//     kill -9 and after a power failure at any moment; once they have returned nil,
//     the new one. Of many [Pending.CommitNew] for one name exactly one succeeds.
//   - A [Lock] is held by one at a time among goroutines, processes, and hosts that
//     share locks. It ends with its process, is inherited by none, and names its [Owner].
//   - An owner is [Dead] only on proof. What cannot be known is [Unknown], and what a
//     process of unknown fate left behind is never touched.
//   - All functions are safe for concurrent use and keep no goroutine.
//
// # What it does not do
//
// It cannot hold a directory against os.RemoveAll or rm -rf: those also remove what
// holds it. Create then tries again for up to 10 seconds, and what it made may be
// removed the moment it returns. Nothing here protects one from processes that write
// into files in place, replace lock files, or lie about durability: a disk that
// confirms what it has not stored, an NFS export with the async option.
// A parent directory that was there before a WriteFile is as durable as its maker left
// it: [MkdirAll], [Create] and most other programs sync nothing. Network file systems
// may show other hosts old directory entries for some seconds (nfs(5), "attribute
// caching"). A lock on a file system that pretends to pass locks on to other hosts
// excludes only processes of one host.
//
// Names that begin with ".fsrace-" belong to this package. What a crash of the
// machine left of them stays, since nobody can prove its owner dead after a reboot;
// they may be removed by hand when no process that uses fsrace runs.
//
// # Platforms
//
// Linux has everything; renameat2(2) needs 3.15 and a file system that supports it,
// without which Create holds directories by plain repetition. On macOS and FreeBSD,
// [Owner.Liveness] is always [Unknown], so that litter stays; elsewhere on Unix it
// is the same. FreeBSD lacks a rename that does not replace: CommitNew makes a hard
// link there. Windows and others have no locks ([ErrNoLocks]), cannot sync a
// directory, nor rename an open file: a commit whose directory was removed fails.
package fsrace
