// SPDX-License-Identifier: MIT

//go:build !linux

package opencache

func descriptors() (limit, open int, ok bool) { return 0, 0, false }
