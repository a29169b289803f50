// SPDX-License-Identifier: MIT

package outbox_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// Lines is a protocol of text lines, which the client does not acknowledge: one
// counts as delivered once the client's kernel has it.
type Lines struct{}

func (Lines) Encode(dst []byte, rec outbox.Record) []byte {
	return append(append(dst, rec.Data...), '\n')
}

func (Lines) ReadAck(io.Reader) (uint64, error) { return 0, errors.ErrUnsupported }

func ExampleCodec() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	defer q.Close()
	q.Append([]byte("hello"))
	q.Append([]byte("bye"))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	done := make(chan error)
	go func() { done <- q.Deliver(context.Background(), conn, Lines{}) }()

	lines := bufio.NewScanner(client)
	for range 2 {
		lines.Scan()
		fmt.Println(lines.Text())
	}
	client.Close()
	fmt.Println("it has left:", errors.Is(<-done, io.EOF))
	// Output:
	// hello
	// bye
	// it has left: true
}
