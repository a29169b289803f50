// SPDX-License-Identifier: MIT

package identd

import (
	"net/netip"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/sockowner"
)

// AnyState is the cure: the check taken out. What is left is complete, and as
// accurate as it was.
func AnyState(local, remote netip.AddrPort) (sockowner.Owner, error) {
	return sockowner.Lookup(local, remote)
}
