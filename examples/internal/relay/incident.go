// SPDX-License-Identifier: MIT

// Package relay tells the story of a receiver that worked between its reads: its
// upstream does not block, found no room in the kernel's buffers, and hung up.
package relay

import "github.com/seed-b08dbae9/sysprim/examples/internal/incident"

// Incident is the story for the tour.
var Incident = &incident.Incident{
	Name:    "relay",
	Title:   "a slow reader gets its peer to hang up",
	Package: "tcpdrain",
	Naive:   naive,
	Fixed:   fixed,
}
