// SPDX-License-Identifier: MIT

//go:build !race

package tcpdrain

const raceEnabled = false
