// SPDX-License-Identifier: MIT

//go:build unix

package staticmount

import "golang.org/x/sys/unix"

// setLimit lowers the soft limit of this process's descriptors to n.
func setLimit(n uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	assign(&limit.Cur, n)
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// assign is for the one field that is signed on FreeBSD.
func assign[T int64 | uint64](to *T, n uint64) { *to = T(n) }
