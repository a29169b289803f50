// SPDX-License-Identifier: MIT

// Package fdguard guards open files: wrapping one is free, holding one is
// explicit, and what is open is visible.
//
// A [File] is one holder's handle on an open descriptor. [Wrap] is an identity:
// wrapping what is wrapped already gives the same handle and takes no reference,
// so code that wraps twice and closes once leaks nothing. [File.Clone] is the
// only way to add a holder; each holder closes its own handle, as often as it
// likes, and the last one to do so closes the descriptor, once.
//
// Every handle is in a table with its name, its opening stack and its age.
// [Snapshot] reads the table even when no descriptor is left to open anything
// with, [Handler] serves it as a page and as JSON, the pprof profile
// "fdguard.open" (registered with the first handle or Snapshot) gives it to go tool
// pprof, and [OnLeak] hears of handles that
// were dropped without Close.
//
// # Guarantees
//
//   - No method of a File reaches a descriptor that fdguard has closed, whatever
//     the number has come to mean since. A descriptor is closed when its last
//     holder has closed and its last operation has returned, exactly once.
//   - Close of one handle never takes another holder's reference, and never
//     blocks on another goroutine's operation.
//   - After Close has returned, every method of that handle fails with an error
//     that wraps [fs.ErrClosed].
//   - A descriptor number has one owner: [Adopt] and [Wrap] refuse a number that
//     is owned already and name the first owner ([*OwnedError]).
//   - Descriptors are opened close-on-exec, and above the three standard ones.
//   - Everything one goroutine did with a handle before it closed it happens
//     before the close of the descriptor.
//
// All functions, and all methods of File, may be called from any goroutine. One
// handle has one offset, so that goroutines that Read the same handle share it
// out between them, as with an [os.File]; give each its Clone.
//
// # Cost
//
// The levels ([SetLevel]) differ in what Open and Close record. On a small
// virtual machine, beside os.Open + Stat + Close as 1.00: Off 0.85, Count 0.95,
// Stacks 0.98, Paranoid 1.2; BenchmarkOpenStatClose measures it for yours. (Stacks
// costs more, about 1.3, where frame pointers are not followed: on Windows, on
// other processors than amd64 and arm64, and with the build tag purego.) Reads and
// writes cost the same at each level: one atomic addition to begin and one to end,
// 13 ns together. A server that opens a file per request spends 1 to 2.5 percent
// more processor time on it than with http.Dir, 6 to 8 if it wraps what os.Open
// gave, which takes a weak pointer on top; BenchmarkServe measures it.
//
// # What it does not do
//
//   - It cannot stop code that closes a descriptor by number, only notice it: at
//     level Paranoid before the last Close, at every level but Off when the number
//     comes back with another file that is opened, wrapped or adopted.
//   - It does not guard descriptors it was not given. [Report] counts them.
//   - A blocking operation on a descriptor in blocking mode (an adopted terminal,
//     say) is not interrupted by Close, which the kernel offers no means for; the
//     descriptor is closed when the operation returns.
//
// # Platforms
//
// Linux has everything. Zero copy from a Clone needs /proc and falls back to
// copying where it is not mounted. On the other Unix systems there is no
// private description for Clones to send from, so that they copy. On Windows and
// elsewhere there is in addition no identity check, no descriptor limit and no
// count of the process's descriptors: the corresponding fields of [Report] are
// -1.
package fdguard
