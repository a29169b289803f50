// SPDX-License-Identifier: MIT

//go:build !unix

package opencache

const nonblock = 0
