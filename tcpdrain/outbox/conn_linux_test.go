// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"io"
	"syscall"
	"testing"
)

// G32: what a connection that is broken says of the bytes it holds proves nothing. One
// that the peer has half-closed is not broken.
func TestUnacknowledged(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	far.CloseWrite()
	if _, err := near.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	if n, err := unacknowledged(near); n != 0 || err != nil {
		t.Errorf("%d, %v after a half-close", n, err)
	}

	near, far = tcpPair(t)
	far.SetLinger(0)
	far.Close()
	near.Read(make([]byte, 1))
	if n, err := unacknowledged(near); !errors.Is(err, syscall.ENOTCONN) {
		t.Errorf("%d, %v after a reset, want ENOTCONN", n, err)
	}
}
