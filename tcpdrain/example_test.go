// SPDX-License-Identifier: MIT

package tcpdrain_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/seed-b08dbae9/sysprim/tcpdrain"
	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// pair returns both ends of a TCP connection.
func pair() (server, client *net.TCPConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		log.Fatal(err)
	}
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// A server that works between its reads, and is never the reason why its peer has
// to wait.
func Example() {
	conn, upstream := pair()
	go func() {
		for i := range 3 {
			fmt.Fprintf(upstream, "message %d\n", i)
		}
		upstream.Close()
	}()

	pump, err := tcpdrain.NewPump(conn, tcpdrain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer pump.Close()
	messages := bufio.NewScanner(pump)
	for messages.Scan() {
		fmt.Println(messages.Text())
		time.Sleep(10 * time.Millisecond) // the work
	}
	// Output:
	// message 0
	// message 1
	// message 2
}

func ExampleReader_Drain() {
	conn, peer := pair()
	defer conn.Close()
	r, err := tcpdrain.NewReader(conn, tcpdrain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(peer, "all there is")
	peer.Close()
	var buf []byte
	for state := tcpdrain.Empty; state != tcpdrain.EOF; {
		if buf, state, err = r.Drain(buf[:0]); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s", buf)
	}
	// Output: all there is
}

// TryDrain looks whether an idle connection has something to say before it is used
// again.
func ExampleReader_TryDrain() {
	conn, peer := pair()
	defer conn.Close()
	defer peer.Close()
	r, err := tcpdrain.NewReader(conn, tcpdrain.Config{Prefix: []byte("read ahead")})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		b, state, err := r.TryDrain(nil)
		fmt.Printf("%q %v %v\n", b, state, err)
	}
	// Output:
	// "read ahead" Empty <nil>
	// "" Empty <nil>
}

func ExamplePump_Next() {
	conn, peer := pair()
	go func() {
		fmt.Fprint(peer, "a batch")
		peer.Close()
	}()
	pump, err := tcpdrain.NewPump(conn, tcpdrain.Config{Max: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer pump.Close()
	for {
		batch, err := pump.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", batch)
	}
	// Output: a batch
}

// Whatever is too much for memory goes to disk, and comes back in order.
func ExamplePump_spill() {
	dir, err := os.MkdirTemp("", "spill")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	queue, err := outbox.Open(dir, outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	conn, peer := pair()
	pump, err := tcpdrain.NewPump(conn, tcpdrain.Config{Max: 1 << 20, Full: tcpdrain.Spill, Spill: queue})
	if err != nil {
		log.Fatal(err)
	}
	defer pump.Close()
	const size = 8 << 20
	peer.Write(make([]byte, size)) // nobody reads yet
	peer.Close()
	n, err := io.Copy(io.Discard, pump)
	s := pump.Stats()
	fmt.Println(n == size, err, s.MostHeld <= 1<<20, s.Spilled > 0)
	// Output: true <nil> true true
}

func ExamplePump_WriteTo() {
	conn, peer := pair()
	fmt.Fprintln(peer, "copied without a buffer in between")
	peer.Close()
	pump, err := tcpdrain.NewPump(conn, tcpdrain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer pump.Close()
	if _, err := io.Copy(os.Stdout, pump); err != nil { // calls WriteTo
		log.Fatal(err)
	}
	// Output: copied without a buffer in between
}

// A caller that does not keep up learns that from Stats: it is the slow side.
func ExamplePump_Stats() {
	conn, peer := pair()
	defer peer.Close()
	pump, err := tcpdrain.NewPump(conn, tcpdrain.Config{Max: 1000})
	if err != nil {
		log.Fatal(err)
	}
	defer pump.Close()
	peer.Write(make([]byte, 5000))
	for pump.Stats().Stalls == 0 {
		time.Sleep(time.Millisecond)
	}
	s := pump.Stats()
	fmt.Println(s.Held, s.StallTime > 0)
	// Output: 1000 true
}

func ExampleCloseGraceful() {
	conn, peer := pair()
	go func() {
		defer peer.Close()
		reply, err := io.ReadAll(peer)
		fmt.Printf("%q %v\n", reply, err)
	}()
	peer.Write([]byte("a request that is not read to its end"))
	conn.Write([]byte("too long"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := tcpdrain.CloseGraceful(ctx, conn); err != nil {
		log.Fatal(err)
	}
	// Output: "too long" <nil>
}

func ExampleGracefulError() {
	conn, peer := net.Pipe()
	defer peer.Close()
	err := tcpdrain.CloseGraceful(context.Background(), conn)
	if ge, ok := errors.AsType[*tcpdrain.GracefulError](err); ok {
		fmt.Println(ge.Discarded, errors.Is(err, errors.ErrUnsupported))
	}
	// Output: 0 true
}
