// SPDX-License-Identifier: MIT

package main

import (
	"github.com/seed-b08dbae9/sysprim/examples/internal/comments"
	"github.com/seed-b08dbae9/sysprim/examples/internal/identd"
	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
	"github.com/seed-b08dbae9/sysprim/examples/internal/jobspool"
	"github.com/seed-b08dbae9/sysprim/examples/internal/lsremote"
	"github.com/seed-b08dbae9/sysprim/examples/internal/relay"
	"github.com/seed-b08dbae9/sysprim/examples/internal/staticmount"
)

// incidents are the stops of the tour, in the order in which they happened.
var incidents = []*incident.Incident{
	lsremote.Incident,
	comments.Incident,
	identd.Incident,
	staticmount.Incident,
	jobspool.Incident,
	relay.Incident,
}
