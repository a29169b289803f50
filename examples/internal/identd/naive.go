// SPDX-License-Identifier: MIT

package identd

import (
	"fmt"
	"net/netip"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/sockowner"
)

// EstablishedOnly is the way it happened: the four parts of the connection match, and
// then, to be on the safe side, it has to be ESTABLISHED too. A client that has sent
// its job and half-closed is in FIN_WAIT1: as good an owner as any, and NO-USER here.
func EstablishedOnly(local, remote netip.AddrPort) (sockowner.Owner, error) {
	owner, err := sockowner.Lookup(local, remote)
	if err == nil && owner.State != sockowner.Established {
		return owner, fmt.Errorf("%w: state is %v", ErrNoUser, owner.State)
	}
	return owner, err
}
