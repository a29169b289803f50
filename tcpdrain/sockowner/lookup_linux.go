// SPDX-License-Identifier: MIT

package sockowner

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

func lookup(q tuple, zone string) (Owner, error) { return kernel.lookup(q, zone) }

// An entry is one row of the kernel's table of TCP sockets.
type entry struct {
	tuple
	device uint32 // index of the interface the socket is bound to, or 0
	uid    uint32
	inode  uint64
	state  State
}

// is reports whether e is the end asked for: every part of it, and no listener,
// which is what sock_diag falls back to when there is no such connection.
func (e entry) is(q tuple, device uint32) bool {
	return e.tuple == q && e.state != Listen && (device == 0 || e.device == 0 || e.device == device)
}

func (sys *system) lookup(q tuple, zone string) (Owner, error) {
	device, err := sys.index(zone)
	if err != nil {
		return Owner{}, err
	}
	found, denied := sys.diag(q, device)
	if denied == nil {
		return settle(found)
	}
	if zone != "" {
		// Its rows name no device, and the same addresses on another link are another
		// connection: whoever sits there could choose them to be taken for this one.
		return Owner{}, fmt.Errorf("sock_diag: %w (and /proc does not show zones)", denied)
	}
	if found, err = sys.proc(q); err != nil {
		return Owner{}, fmt.Errorf("sock_diag: %w; /proc: %w", denied, err)
	}
	return settle(found)
}

// index returns the index of the interface that zone names, 0 for no zone. Names go
// before numbers, as in package net: an interface may be called "3".
func (sys *system) index(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	links, err := sys.interfaces()
	if err != nil {
		return 0, fmt.Errorf("zone %q: %w", zone, err)
	}
	for _, link := range links {
		if link.Name == zone {
			return uint32(link.Index), nil
		}
	}
	n, err := strconv.ParseUint(zone, 10, 31)
	if err != nil || n == 0 {
		return 0, &net.AddrError{Err: "no such interface", Addr: zone}
	}
	return uint32(n), nil
}

// settle turns the rows found into an answer.
func settle(found []entry) (Owner, error) {
	if len(found) == 0 {
		return Owner{}, ErrNotFound
	}
	e := found[len(found)-1]
	for _, other := range found {
		if other.uid != e.uid || other.inode != e.inode {
			return Owner{}, ErrAmbiguous
		}
	}
	if e.uid == 0 && e.inode == 0 {
		return Owner{State: e.state}, ErrNoOwner
	}
	return Owner{UID: e.uid, Inode: e.inode, State: e.state}, nil
}

// diag finds the end q by sock_diag. An error means that sock_diag cannot answer,
// not that there is no such connection.
func (sys *system) diag(q tuple, device uint32) ([]entry, error) {
	c, err := sys.dial()
	if err != nil {
		return nil, err
	}
	defer c.close()

	e, err := c.exact(q, device)
	switch {
	case err == nil && e.is(q, device):
		return []entry{e}, nil
	case err == nil: // a listener: the handler is there, the connection is not
	case errors.Is(err, errNoSocket):
		// The same errno says that the kernel has no TCP handler (tcp_diag neither
		// built in nor loadable), and then nobody would ever be found.
		if err := c.probe(q); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}
	if device != 0 {
		return nil, nil
	}
	return c.devices(q)
}

// devices looks for q among the sockets bound to a device, which only a query that
// names it finds. It goes through them all, to notice when they are not one.
func (c *conn) devices(q tuple) (found []entry, err error) {
	links, err := c.sys.interfaces()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		switch e, err := c.exact(q, uint32(link.Index)); {
		case err == nil && e.is(q, uint32(link.Index)):
			found = append(found, e)
		case err != nil && !errors.Is(err, errNoSocket):
			return nil, err
		}
	}
	return found, nil
}
