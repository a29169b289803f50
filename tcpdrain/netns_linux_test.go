// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A host is a network namespace, which lives as long as its thread and its sockets.
type host struct {
	tid int
	do  chan func()
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{do: make(chan func())}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread must not be used again
		h.tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		started <- err
		for f := range h.do {
			f()
		}
	}()
	t.Cleanup(func() { close(h.do) })
	if err := <-started; err != nil {
		t.Skipf("a network namespace: %v", err)
	}
	return h
}

// run calls f on the host.
func (h *host) run(f func() error) error {
	err := make(chan error)
	h.do <- func() { err <- f() }
	return <-err
}

func (h *host) ip(args string) error {
	return h.run(func() error {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
		return nil
	})
}

// twoHosts connects two namespaces by a cable, and skips the test where that takes
// a privilege or a tool that is not there.
func twoHosts(t *testing.T) (local, peer *net.TCPConn) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip(err)
	}
	a, b := newHost(t), newHost(t)
	if err := a.ip("link add cable type veth peer name cable netns " + strconv.Itoa(b.tid)); err != nil {
		t.Skip(err)
	}
	check(t, a.ip("address add 192.0.2.1/24 dev cable"))
	check(t, b.ip("address add 192.0.2.2/24 dev cable"))
	check(t, a.ip("link set cable up"))
	check(t, b.ip("link set cable up"))
	var ln *net.TCPListener
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4000}
	check(t, a.run(func() (err error) { ln, err = net.ListenTCP("tcp4", addr); return err }))
	defer ln.Close()
	check(t, b.run(func() (err error) { peer, err = net.DialTCP("tcp4", nil, addr); return err }))
	local, err := ln.AcceptTCP()
	check(t, err)
	t.Cleanup(func() { local.Close(); peer.Close() })
	return local, peer
}

// The story between two hosts, each with its own network stack, on a cable.
func TestTheStoryBetweenTwoHosts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	tellStory(t, twoHosts)
}
