// SPDX-License-Identifier: MIT

package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

func tempDir() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

func open(dir string, cfg outbox.Config) *outbox.Queue {
	q, err := outbox.Open(dir, cfg)
	if err != nil {
		log.Fatal(err)
	}
	return q
}

// A client takes one message, goes away, and comes back for the rest.
func Example() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{MaxBytes: 1 << 30})
	defer q.Close()
	for _, msg := range []string{"one", "two", "three"} {
		if _, err := q.Append([]byte(msg)); err != nil { // survives kill -9 from here on
			log.Fatal(err)
		}
	}
	connect := func(take int) {
		server, client := net.Pipe()
		go func() {
			defer client.Close()
			for range take {
				rec, _ := outbox.Framed{}.ReadRecord(client)
				fmt.Printf("%d %s\n", rec.Seq, rec.Data)
				outbox.Framed{}.WriteAck(client, rec.Seq)
			}
		}()
		q.Deliver(context.Background(), server, outbox.Framed{}) // returns when the client is gone
	}
	connect(1)
	connect(2)
	fmt.Println("left:", q.Len())
	// Output:
	// 1 one
	// 2 two
	// 3 three
	// left: 0
}

// A server's end: what it owes a client outlives the connection and the process.
func Example_serve() {
	dir, remove := tempDir()
	defer remove()
	conn, client := net.Pipe()
	client.Close() // gone before it has taken anything
	ctx := context.Background()

	q, err := outbox.Open(dir, outbox.Config{MaxBytes: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()

	if _, err := q.Append([]byte("hello")); err != nil { // survives kill -9 from here on
		log.Fatal(err)
	}
	err = q.Deliver(ctx, conn, outbox.Framed{}) // until the client is gone; again with its next connection

	fmt.Println(err != nil, q.Len())
	// Output: true 1
}

func ExampleOpen() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	q.Append([]byte("kept"))
	_, err := outbox.Open(dir, outbox.Config{})
	fmt.Println("in use:", errors.Is(err, outbox.ErrLocked))
	q.Close()

	q = open(dir, outbox.Config{})
	defer q.Close()
	fmt.Println("records:", q.Len())
	// Output:
	// in use: true
	// records: 1
}

func ExampleConfig() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{
		MaxBytes: 100,
		Full:     outbox.DropOldest,
		Sync:     outbox.Always,
	})
	defer q.Close()
	for i := range 5 {
		q.Append(fmt.Appendf(nil, "state of the world, number %d", i)) // 28 bytes and 16 of header
	}
	rec, _ := q.Next(context.Background())
	fmt.Printf("%d %s\n", rec.Seq, rec.Data)
	fmt.Println("dropped:", q.Loss().Records)
	// Output:
	// 4 state of the world, number 3
	// dropped: 3
}

func ExampleQueue_Append() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{MaxBytes: 64, Full: outbox.Fail})
	defer q.Close()
	seq, err := q.Append([]byte("hello"))
	fmt.Println(seq, err)
	_, err = q.Append(make([]byte, 40))
	fmt.Println(errors.Is(err, outbox.ErrFull))
	// Output:
	// 1 <nil>
	// true
}

// A producer that would rather drop a message than wait for a slow client for ever.
func ExampleQueue_AppendContext() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{MaxBytes: 64})
	defer q.Close()
	q.Append(make([]byte, 40))

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := q.AppendContext(ctx, make([]byte, 40))
	fmt.Println(err)
	fmt.Println(q.Len())
	// Output:
	// context deadline exceeded
	// 1
}

func ExampleQueue_Next() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	defer q.Close()
	q.Append([]byte("hello"))
	ctx, cancel := context.WithCancelCause(context.Background())
	rec, err := q.Next(ctx)
	fmt.Printf("%d %s %v\n", rec.Seq, rec.Data, err)

	cancel(errors.New("no more today"))
	_, err = q.Next(ctx)
	fmt.Println(err)
	// Output:
	// 1 hello <nil>
	// no more today
}

func ExampleQueue_TryNext() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	defer q.Close()
	q.Append([]byte("hello"))
	for {
		rec, ok, err := q.TryNext()
		if err != nil {
			log.Fatal(err)
		}
		if !ok {
			break
		}
		fmt.Printf("%s\n", rec.Data)
	}
	// Output: hello
}

// Two workers take records, and the second is done first.
func ExampleQueue_Ack() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	defer q.Close()
	q.Append([]byte("slow"))
	q.Append([]byte("quick"))
	ctx := context.Background()
	slow, _ := q.Next(ctx)
	quick, _ := q.Next(ctx)
	q.Ack(quick.Seq)
	fmt.Println(q.Len(), q.Bytes()) // space is given back in order
	q.Ack(slow.Seq)
	fmt.Println(q.Len(), q.Bytes())
	// Output:
	// 1 41
	// 0 0
}

func ExampleQueue_Rewind() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	defer q.Close()
	q.Append([]byte("a"))
	q.Append([]byte("b"))
	ctx := context.Background()
	a, _ := q.Next(ctx)
	q.Next(ctx)
	q.Ack(a.Seq)
	q.Rewind() // whoever took b has died
	b, _ := q.Next(ctx)
	fmt.Printf("%s\n", b.Data)
	// Output: b
}

func ExampleQueue_Sync() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{Sync: outbox.Never})
	defer q.Close()
	for i := range 10 {
		q.Append([]byte{byte(i)})
	}
	fmt.Println(q.Sync()) // all ten survive a power cut now
	// Output: <nil>
}

func ExampleQueue_Loss() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{MaxBytes: 40, Full: outbox.DropOldest})
	defer q.Close()
	for range 5 {
		q.Append([]byte("1234"))
	}
	for _, r := range q.Loss().Ranges {
		fmt.Printf("%d to %d %v\n", r.First, r.Last, r.Reason)
	}
	// Output: 1 to 3 dropped
}

// A queue that must not pass over damage says where it is.
func ExampleCorruptError() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	for _, msg := range []string{"one", "two", "three"} {
		q.Append([]byte(msg))
	}
	q.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	data, _ := os.ReadFile(files[0])
	os.WriteFile(files[0], bytes.Replace(data, []byte("two"), []byte("tow"), 1), 0o600)

	q = open(dir, outbox.Config{OnCorrupt: outbox.Stop})
	ctx := context.Background()
	q.Next(ctx)
	_, err := q.Next(ctx)
	if damage, ok := errors.AsType[*outbox.CorruptError](err); ok {
		fmt.Println(damage.First, damage.Last)
	}
	q.Close()

	q = open(dir, outbox.Config{}) // Skip
	defer q.Close()
	for rec, ok, _ := q.TryNext(); ok; rec, ok, _ = q.TryNext() {
		fmt.Printf("%s\n", rec.Data)
	}
	fmt.Println("lost:", q.Loss().Records)
	// Output:
	// 2 2
	// one
	// three
	// lost: 1
}

func ExampleQueue_Deliver() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	defer q.Close()
	q.Append([]byte("hello"))

	server, client := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Deliver(ctx, server, outbox.Framed{}) }()

	rec, _ := outbox.Framed{}.ReadRecord(client)
	fmt.Printf("%s\n", rec.Data)
	cancel()
	fmt.Println(<-done)
	fmt.Println("not acknowledged:", q.Len())
	// Output:
	// hello
	// context canceled
	// not acknowledged: 1
}

// The client's end by hand, for one that acknowledges when it likes.
func ExampleFramed() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	defer q.Close()
	q.Append([]byte("hello"))
	q.Append([]byte("bye"))
	server, client := net.Pipe()
	done := make(chan error)
	go func() { done <- q.Deliver(context.Background(), server, outbox.Framed{}) }()

	f := outbox.Framed{MaxRecord: 1 << 10}
	hello, _ := f.ReadRecord(client)
	bye, err := f.ReadRecord(client)
	fmt.Printf("%d %s, %d %s, %v\n", hello.Seq, hello.Data, bye.Seq, bye.Data, err)
	f.WriteAck(client, bye.Seq)
	client.Close()
	fmt.Println("it has left:", errors.Is(<-done, io.EOF))
	fmt.Println("owed:", q.Len()) // hello, once more
	// Output:
	// 1 hello, 2 bye, <nil>
	// it has left: true
	// owed: 1
}

// The client's end.
func ExampleFramed_Receive() {
	dir, remove := tempDir()
	defer remove()
	q := open(dir, outbox.Config{})
	q.Append([]byte("hello"))
	q.Append([]byte("bye"))
	server, client := net.Pipe()
	go func() {
		q.Deliver(context.Background(), server, outbox.Framed{})
		server.Close()
	}()

	acted := uint64(0)
	outbox.Framed{}.Receive(client, func(rec outbox.Record) error {
		if rec.Seq <= acted {
			return nil // sent again: acknowledge it, and do nothing
		}
		acted = rec.Seq
		fmt.Printf("%s\n", rec.Data)
		if string(rec.Data) == "bye" {
			return errors.New("enough")
		}
		return nil
	})
	client.Close()
	q.Close()
	// Output:
	// hello
	// bye
}
