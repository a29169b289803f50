// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"os"
	"runtime"
	"syscall"
	"time"
)

// A turn is over at once unless the processors are busy with other work; then it takes
// 10 ms or more, and the Pump reads for a part of that time before the next: it would
// else take in Config.Budget each time, whatever its peer sends.
const turnShare = 8

// A turnstile lets everybody go ahead whose connection is ready. Yielding the
// processor is not enough: the runtime looks at the network when nothing is runnable,
// or after 10 ms, and of a busy Pump's goroutine and its caller's one always is. So
// the turnstile waits for the network itself, for a byte that it sends through a pipe
// of its own: only the runtime's poller can tell it that the byte is there, and the
// same look tells the others.
//
// It belongs to one goroutine. From the first turn until close it has descriptors.
type turnstile struct {
	pipe    func() (r, w *os.File, err error)
	r, w    *os.File // nil: closed
	raw     syscall.RawConn
	onReady func(fd uintptr) bool // made once, so that a turn allocates nothing
	sent    bool
	next    time.Time // no turn is due before
}

func (t *turnstile) due() bool { return !time.Now().Before(t.next) }

func (t *turnstile) turn() {
	start := time.Now()
	if !polls || t.pass() != nil {
		t.close()
	}
	runtime.Gosched() // the poller may have found us first
	now := time.Now()
	t.next = now.Add(now.Sub(start) / turnShare)
}

// pass fails where there are no descriptors left, or none that can be waited for.
func (t *turnstile) pass() error {
	if t.r == nil {
		if err := t.open(); err != nil {
			return err
		}
	}
	t.sent = false
	return t.raw.Read(t.onReady)
}

func (t *turnstile) open() (err error) {
	if t.r, t.w, err = t.pipe(); err != nil {
		return err
	}
	var b [8]byte
	t.onReady = func(fd uintptr) bool {
		if !t.sent { // not before Read, which forgets what the poller found earlier
			t.sent = true
			t.w.Write(b[:1])
			return false
		}
		_, err := readFD(fd, b[:])
		return err != errAgain
	}
	t.raw, err = t.r.SyscallConn()
	return err
}

func (t *turnstile) close() {
	if t.r != nil {
		t.r.Close()
		t.w.Close()
		t.r, t.w = nil, nil
	}
}
