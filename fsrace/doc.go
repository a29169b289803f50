// SPDX-License-Identifier: MIT

// Package fsrace makes directories, files and locks where others do the same at
// the same time, and others still remove them.
package fsrace
