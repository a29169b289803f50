// SPDX-License-Identifier: MIT

//go:build unix && !linux

package execsafe

func performHere(string, string, int) bool { return false }
