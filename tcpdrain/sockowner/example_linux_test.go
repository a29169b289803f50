// SPDX-License-Identifier: MIT

package sockowner_test

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/sockowner"
)

// loopback connects two ends of a connection on this machine.
func loopback() (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		log.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		log.Fatal(err)
	}
	return client, server
}

// A server lets its local clients in by user. The client says what it wants and
// half-closes at once, which makes no difference.
func ExamplePeer() {
	client, server := loopback()
	defer client.Close()
	defer server.Close()
	client.(*net.TCPConn).CloseWrite()

	owner, err := sockowner.Peer(server)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("it is me:", owner.UID == uint32(os.Geteuid()))
	fmt.Println("established:", owner.State == sockowner.Established)
	// Output:
	// it is me: true
	// established: false
}

// An ident server is asked for one end of a connection by two port numbers; the
// addresses are those that the question came from and to.
func ExampleLookup() {
	client, server := loopback()
	defer client.Close()
	defer server.Close()
	local := client.LocalAddr().(*net.TCPAddr).AddrPort()
	remote := client.RemoteAddr().(*net.TCPAddr).AddrPort()

	owner, err := sockowner.Lookup(local, remote)
	fmt.Println(owner.UID == uint32(os.Geteuid()), owner.State, err)

	stranger := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), local.Port())
	owner, err = sockowner.Lookup(stranger, remote)
	fmt.Println(errors.Is(err, sockowner.ErrNotFound), owner.UID == sockowner.NoUID)
	// Output:
	// true ESTABLISHED <nil>
	// true true
}

func ExampleState_String() {
	fmt.Println(sockowner.FinWait1, sockowner.State(99))
	// Output: FIN_WAIT1 State(99)
}
