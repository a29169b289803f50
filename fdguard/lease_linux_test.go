// SPDX-License-Identifier: MIT

package fdguard

import (
	"io"
	"net"
	"testing"
)

// What sendfile has sent of a clone is behind its offset.
func TestSendingMovesTheOffset(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	body := randomText(100_000)
	f := mustOpen(t, r, body)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for name, f := range map[string]*File{"first handle": f, "clone": mustClone(t, f)} {
		if _, err := f.Seek(10, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{70_000, 1} {
			if sent, err := io.CopyN(conn, f, n); sent != n || err != nil {
				t.Errorf("%s: sent %d, %v", name, sent, err)
			}
		}
		wantRead(t, f, body[70_011:])
	}
	if n := r.private.Load(); n != 1 {
		t.Errorf("%d private descriptions, want the clone's", n)
	}
}

// However many clones send at once, few private descriptions are kept.
func TestFewPrivateDescriptionsAreKept(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	f := mustOpen(t, r, "x")
	const n = maxIdle + 3
	var lend func(i int)
	lend = func(i int) {
		rc, err := mustClone(t, f).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = rc.Read(func(uintptr) bool {
			if i < n {
				lend(i + 1)
			} else if got := r.private.Load(); got != n {
				t.Errorf("%d private descriptions lent, want %d", got, n)
			}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	}
	lend(1)
	if got := r.private.Load(); got != maxIdle {
		t.Errorf("%d private descriptions kept, want %d", got, maxIdle)
	}
}
