// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// A step is what the kernel answers to reads.
type step struct {
	n   int   // that many bytes, if err is nil; 0: end of stream
	err error // errAgain, EINTR, ECONNRESET, once
}

// A script is a socket that answers reads step by step, and then errAgain for ever;
// a wait after the last step fails with net.ErrClosed. It stands in for the
// connection, its RawConn and read(2), and holds its reader to the rule that only
// errAgain is a reason to wait.
type script struct {
	tb      testing.TB
	steps   []step
	sent    int   // bytes of the stream so far
	last    error // of the latest read
	reads   int
	largest int    // space offered to a read
	onRead  func() // may be nil
}

func (s *script) sys() sys {
	return sys{
		raw:    func(net.Conn) (syscall.RawConn, error) { return scriptRaw{s}, nil },
		read:   s.read,
		window: func(syscall.RawConn) (window, bool) { return window{}, false },
		pipe:   os.Pipe,
	}
}

func (s *script) conn() net.Conn { return scriptConn{} }

func (s *script) read(_ uintptr, p []byte) (int, error) {
	if s.onRead != nil {
		s.onRead()
	}
	s.reads++
	s.largest = max(s.largest, len(p))
	if len(p) == 0 {
		s.tb.Error("read with no space")
	}
	s.last = errAgain
	if len(s.steps) == 0 {
		return -1, errAgain
	}
	st := &s.steps[0]
	if s.last = st.err; st.err != nil {
		s.steps = s.steps[1:]
		return -1, s.last
	}
	if st.n == 0 {
		return 0, nil // the end stays the end
	}
	n := min(st.n, len(p))
	for i := range p[:n] {
		p[i] = streamByte(s.sent)
		s.sent++
	}
	if st.n -= n; st.n == 0 {
		s.steps = s.steps[1:]
	}
	return n, nil
}

type scriptRaw struct{ *script }

func (s scriptRaw) Control(f func(uintptr)) error { f(0); return nil }

func (s scriptRaw) Read(f func(uintptr) bool) error {
	for !f(0) {
		if s.last != errAgain {
			s.tb.Errorf("waits after %v", s.last)
		}
		if len(s.steps) == 0 {
			return &net.OpError{Op: "raw-read", Net: "tcp", Err: net.ErrClosed}
		}
	}
	return nil
}

func (s scriptRaw) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

type scriptConn struct{ net.Conn }

func (scriptConn) Read([]byte) (int, error)        { return 0, errors.New("fell back to Read") }
func (scriptConn) SetReadDeadline(time.Time) error { return nil }
func (scriptConn) LocalAddr() net.Addr             { return &net.TCPAddr{} }
func (scriptConn) RemoteAddr() net.Addr            { return &net.TCPAddr{} }
func (scriptConn) Close() error                    { return nil }

// streamByte is the i-th byte of every stream in these tests.
func streamByte(i int) byte { return byte(i ^ i>>8*31 ^ i>>16*17) }

// isStream reports whether b is the stream's first len(b) bytes.
func isStream(b []byte) bool { return bytes.Equal(b, pattern(len(b))) }

// model says what a reader of steps must get in the end: how many bytes, then what.
func model(steps []step) (n int, end error) {
	for _, st := range steps {
		switch {
		case st.err == syscall.ECONNRESET:
			return n, syscall.ECONNRESET
		case st.err != nil:
		case st.n == 0:
			return n, io.EOF
		default:
			n += st.n
		}
	}
	return n, net.ErrClosed
}

const scriptChunk = 16

var alphabet = map[string]step{
	"full":   {n: scriptChunk},
	"twice":  {n: 2*scriptChunk + 1},
	"short":  {n: 5}, // such as before an urgent mark
	"eintr":  {err: syscall.EINTR},
	"eagain": {err: errAgain},
	"reset":  {err: syscall.ECONNRESET},
	"eof":    {},
}

// everyScript calls f with every sequence of the alphabet up to the given length.
func everyScript(length int, f func(name string, steps []step)) {
	var rec func(name string, steps []step)
	rec = func(name string, steps []step) {
		f(name, steps)
		if len(steps) == length {
			return
		}
		for word, st := range alphabet {
			rec(name+" "+word, append(steps[:len(steps):len(steps)], st))
		}
	}
	rec("", nil)
}

// G10, G13, G21: whatever the kernel answers at any step, every byte comes once, in
// order, before the end, the end stays, and no read asks for more than a chunk.
func TestReaderOverEverySchedule(t *testing.T) {
	t.Parallel()
	length := 5
	if testing.Short() {
		length = 4
	}
	for _, budget := range []int{7, scriptChunk, 1000} {
		everyScript(length, func(name string, steps []step) {
			want, wantEnd := model(steps)
			s := &script{tb: t, steps: steps}
			r := must(newReader(s.conn(), Config{Chunk: scriptChunk, Budget: budget}, s.sys()))
			got, end := drainAll(t, r, budget)
			if len(got) != want || !isStream(got) || !errors.Is(end, wantEnd) {
				t.Errorf("budget %d,%s: %d bytes, %v, want %d, %v", budget, name, len(got), end, want, wantEnd)
			}
			reads := s.reads
			if wantEnd == net.ErrClosed {
				return // from the wait, not from the socket
			}
			_, state, err := r.Drain(nil)
			if wantEnd == io.EOF && (state != EOF || err != nil) || wantEnd != io.EOF && !errors.Is(err, wantEnd) {
				t.Errorf("budget %d,%s: then %v, %v", budget, name, state, err)
			}
			if s.reads != reads {
				t.Errorf("budget %d,%s: read again after the end", budget, name)
			}
			if s.largest > scriptChunk {
				t.Errorf("budget %d,%s: read %d bytes at once", budget, name, s.largest)
			}
		})
	}
}

// drainAll drains by turns of Drain and TryDrain until the end.
func drainAll(tb testing.TB, r *Reader, budget int) (got []byte, end error) {
	var buf [4 * scriptChunk]byte
	for i := 0; ; i++ {
		drain, dst := r.Drain, buf[:0:i%len(buf)]
		if i%2 == 1 {
			drain = r.TryDrain
		}
		b, state, err := drain(dst)
		if len(b) > budget {
			tb.Fatalf("%d bytes, more than the budget %d", len(b), budget)
		}
		if len(b) > 0 && err != nil {
			tb.Fatalf("%d bytes together with %v", len(b), err)
		}
		got = append(got, b...)
		if err != nil {
			return got, err
		}
		if state == EOF {
			return got, io.EOF
		}
	}
}

// The same for a Pump, for each grain of caller and each policy.
func TestPumpOverEverySchedule(t *testing.T) {
	t.Parallel()
	length := 4
	if testing.Short() {
		length = 3
	}
	for _, cfg := range []Config{
		{Chunk: scriptChunk, Budget: 20},
		{Chunk: scriptChunk, Max: 9, Resume: 3},
		{Chunk: scriptChunk, Full: Fail, Max: 1 << 20},
	} {
		everyScript(length, func(name string, steps []step) {
			want, wantEnd := model(steps)
			s := &script{tb: t, steps: steps}
			p := must(newPump(s.conn(), cfg, s.sys()))
			defer p.Close()
			got, end := takeAll(t, p)
			if len(got) != want || !isStream(got) || !errors.Is(end, wantEnd) {
				t.Errorf("%+v,%s: %d bytes, %v, want %d, %v", cfg, name, len(got), end, want, wantEnd)
			}
			if _, err := p.Read(make([]byte, 1)); !errors.Is(err, wantEnd) {
				t.Errorf("%+v,%s: then %v", cfg, name, err)
			}
			if st := p.Stats(); st.MostHeld > cfg.Max && cfg.Max > 0 || st.Held != 0 || st.Bytes != int64(want) {
				t.Errorf("%+v,%s: %+v", cfg, name, st)
			}
		})
	}
}

// What a Pump counts; and to wait is a turn, so that Budget counts from there.
func TestPumpCounts(t *testing.T) {
	t.Parallel()
	full, again, end := alphabet["full"], alphabet["eagain"], alphabet["eof"]
	for name, tc := range map[string]struct {
		steps []step
		want  Stats
		hits  bool
	}{
		"never empty":   {[]step{full, full, full, end}, Stats{Bytes: 48, Reads: 4}, true},
		"empty between": {[]step{again, full, again, full, again, full, end}, Stats{Bytes: 48, Reads: 7, Eagains: 3, Wakes: 3}, false},
		"empty at last": {[]step{full, full, again, again, end}, Stats{Bytes: 32, Reads: 5, Eagains: 2, Wakes: 1}, true},
	} {
		s := &script{tb: t, steps: tc.steps}
		p := must(newPump(s.conn(), Config{Chunk: scriptChunk, Budget: 2 * scriptChunk}, s.sys()))
		defer p.Close()
		<-p.done
		got := p.Stats()
		if hits := got.BudgetHits > 0; hits != tc.hits {
			t.Errorf("%s: %d budget hits", name, got.BudgetHits)
		}
		tc.want.Held, tc.want.MostHeld, got.BudgetHits = tc.want.Bytes, tc.want.Bytes, 0
		if got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// takeAll takes by turns of Next, small Reads and a WriteTo whose writer gives up.
func takeAll(tb testing.TB, p *Pump) (got []byte, end error) {
	for i := 0; ; i++ {
		var err error
		switch i % 3 {
		case 0:
			var b []byte
			b, err = p.Next(tb.Context())
			got = append(got, b...)
		case 1:
			var b [3]byte
			var n int
			n, err = p.Read(b[:])
			got = append(got, b[:n]...)
		case 2:
			w := &shortWriter{left: 7}
			var n int64
			n, err = p.WriteTo(w)
			if got = append(got, w.got...); int(n) != len(w.got) {
				tb.Errorf("WriteTo = %d, wrote %d", n, len(w.got))
			}
			if err == nil {
				err = io.EOF
			} else if err == os.ErrPermission {
				err = nil
			}
		}
		if err != nil {
			return got, err
		}
	}
}

type shortWriter struct {
	left int
	got  []byte
}

func (w *shortWriter) Write(b []byte) (n int, err error) {
	if n = len(b); n > w.left {
		n, err = w.left, os.ErrPermission
	}
	w.got = append(w.got, b[:n]...)
	w.left -= n
	return n, err
}
