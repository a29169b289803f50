// SPDX-License-Identifier: MIT

// Package jobspool is the logic of examples/jobspool: messages come in over TCP, are
// stored as XML, turned into JSON, and submitted to a cluster, by several
// instances of each stage. The way it happened is in naive.go, the cure in fixed.go.
package jobspool

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// A Message asks for a program to be run. On the wire it is, in network byte
// order, the 32-bit ID, the 16-bit length of Program, and Program. The reply to
// a message that is safely stored is its ID.
type Message struct {
	XMLName xml.Name `xml:"job" json:"-"`
	ID      uint32   `xml:"id,attr" json:"id"`
	Program string   `xml:"program" json:"program"`
}

func (m Message) name(ext string) string { return fmt.Sprintf("msg-%06d.%s", m.ID, ext) }

func (m Message) writeTo(w io.Writer) error {
	b := binary.BigEndian.AppendUint32(nil, m.ID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Program)))
	_, err := w.Write(append(b, m.Program...))
	return err
}

func readMessage(r io.Reader) (Message, error) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Message{}, err
	}
	program := make([]byte, binary.BigEndian.Uint16(head[4:]))
	if _, err := io.ReadFull(r, program); err != nil {
		return Message{}, err
	}
	return Message{ID: binary.BigEndian.Uint32(head[:]), Program: string(program)}, nil
}

func (m Message) xml() ([]byte, error)  { return xml.Marshal(m) }
func (m Message) json() ([]byte, error) { return json.Marshal(m) }

// serve accepts connections until ctx is done, and stores each message before it
// replies to it.
func serve(ctx context.Context, ln net.Listener, store func(Message) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			r := bufio.NewReader(conn)
			for {
				m, err := readMessage(r)
				if err != nil {
					return // the client has gone, or will notice that no reply comes
				}
				if err := store(m); err != nil {
					fmt.Fprintln(os.Stderr, "receive:", err)
					return
				}
				if binary.Write(conn, binary.BigEndian, m.ID) != nil {
					return
				}
			}
		})
	}
}

// send sends the messages and waits for the replies to all of them.
func send(ctx context.Context, addr string, messages []Message) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for _, m := range messages {
		if err := m.writeTo(conn); err != nil {
			return err
		}
		var reply uint32
		if err := binary.Read(conn, binary.BigEndian, &reply); err != nil {
			return err
		}
		if reply != m.ID {
			return fmt.Errorf("reply to message %d, want %d", reply, m.ID)
		}
	}
	return nil
}

// A cluster takes jobs. It is a directory with a file for each, named by the key
// that it knows the job by. An empty one is the cluster of an instance that nobody
// has configured.
type cluster string

// errDuplicate is the cluster's answer to a key that it has seen.
var errDuplicate = errors.New("duplicate job")

func (c cluster) submit(m Message, data []byte) error {
	f, err := os.OpenFile(filepath.Join(string(c), m.name("job")), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return errDuplicate
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// jobs returns how many jobs the cluster has.
func (c cluster) jobs() (int, error) {
	entries, err := os.ReadDir(string(c))
	return len(entries), err
}
