// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// G25: sockets of messages are refused, and stream sockets of the unix family read.
func TestOnlyStreams(t *testing.T) {
	t.Parallel()
	udp := must(net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	defer udp.Close()
	for name, conn := range map[string]net.Conn{
		"udp":         udp,
		"wrapped udp": struct{ *net.UDPConn }{udp},
	} {
		if _, err := NewReader(conn, Config{}); !errors.Is(err, ErrNotStream) || !strings.Contains(err.Error(), "udp") {
			t.Errorf("NewReader of %s = %v", name, err)
		}
		if _, err := NewPump(conn, Config{}); !errors.Is(err, ErrNotStream) {
			t.Errorf("NewPump of %s = %v", name, err)
		}
	}
	if _, err := NewReader(nil, Config{}); err == nil {
		t.Error("NewReader of nil: no error")
	}
	local, peer := unixPair(t)
	r := must(NewReader(local, Config{}))
	if r.Fallback() == polls {
		t.Errorf("unix stream: Fallback() = %v", r.Fallback())
	}
	want := pattern(1 << 20)
	go func() { peer.Write(want); peer.Close() }()
	if got, err := drainToEnd(r); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for _, kind := range []string{"unixgram", "unixpacket"} {
		t.Run(kind, func(t *testing.T) {
			conn := unixMessages(t, kind)
			if _, err := NewReader(conn, Config{}); !errors.Is(err, ErrNotStream) {
				t.Errorf("NewReader = %v", err)
			}
		})
	}
}

func unixMessages(t *testing.T, kind string) net.Conn {
	name := filepath.Join(t.TempDir(), "s")
	if kind == "unixgram" {
		conn, err := net.ListenUnixgram(kind, &net.UnixAddr{Name: name, Net: kind})
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	ln, err := net.Listen(kind, name)
	if err != nil {
		t.Skip(err)
	}
	defer ln.Close()
	conn, err := net.Dial(kind, name)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// What had been read ahead comes without the error, which is the next call's.
func TestPrefixOfAClosedConnection(t *testing.T) {
	t.Parallel()
	local, _ := tcpPair(t)
	r := must(NewReader(local, Config{Prefix: []byte("ahead")}))
	local.Close()
	if b, _, err := r.TryDrain(nil); string(b) != "ahead" || err != nil {
		t.Errorf("TryDrain = %q, %v", b, err)
	}
	_, _, err := r.Drain(nil)
	op, ok := errors.AsType[*net.OpError](err)
	if !errors.Is(err, net.ErrClosed) || !ok || op.Op != "read" {
		t.Errorf("then Drain = %v, want an error of a read", err)
	}
}

// A Read may give data together with what ended it: the state says that more follows,
// or that nothing does.
func TestDataWithAnError(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err, then error
		state     State
	}{{io.EOF, nil, EOF}, {io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, More}} {
		conn := readConn{scriptConn{}, func(b []byte) (int, error) { return copy(b, "last"), tc.err }}
		r := must(NewReader(conn, Config{}))
		if b, state, err := r.Drain(nil); string(b) != "last" || state != tc.state || err != nil {
			t.Errorf("%v: Drain = %q, %v, %v", tc.err, b, state, err)
		}
		if b, _, err := r.Drain(nil); len(b) > 0 || err != tc.then {
			t.Errorf("%v: then %q, %v", tc.err, b, err)
		}
	}
}

// A readConn reads its own way.
type readConn struct {
	net.Conn
	read func([]byte) (int, error)
}

func (c readConn) Read(b []byte) (int, error) { return c.read(b) }

func TestBadConfig(t *testing.T) {
	t.Parallel()
	local, _ := tcpPair(t)
	for want, cfg := range map[string]Config{
		"Chunk is negative":  {Chunk: -1},
		"Budget is negative": {Budget: -1},
		"Max is negative":    {Max: -1},
		"Resume is negative": {Resume: -1},
		"Chunk is 2147":      {Chunk: 1<<31 - 1},
		"more than":          {Max: 10, Resume: 11},
		"Policy(7)":          {Full: 7},
		"Spill is nil":       {Full: Spill},
		"Full is Block":      {Spill: spillQueue(t)},
	} {
		if _, err := NewReader(local, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewReader with %+v = %v, want %q", cfg, err, want)
		}
		if _, err := NewPump(local, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewPump with %+v = %v, want %q", cfg, err, want)
		}
	}
}
