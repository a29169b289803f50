// SPDX-License-Identifier: MIT

//go:build !linux

package fsrace

// Without a boot id and a PID namespace there is no proof of life or death.
func self() identity        { return identity{} }
func look(pid int) sighting { return sighting{} }
