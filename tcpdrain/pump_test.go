// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"io"
	"testing"
)

func TestPumpDeliversTheStream(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{}))
	defer p.Close()
	want := pattern(9 << 20)
	go func() {
		peer.Write(want)
		peer.CloseWrite()
	}()
	got, err := io.ReadAll(p)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v, want %d; equal: %v", len(got), err, len(want), bytes.Equal(got, want))
	}
	if _, err := p.Next(t.Context()); err != io.EOF {
		t.Errorf("Next = %v, want io.EOF again", err)
	}
	s := p.Stats()
	if s.Bytes != int64(len(want)) || s.MostHeld > 4<<20 || s.Held != 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", s)
}
