// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

// stepsFrom turns bytes into what the kernel answers: mostly data and errAgain.
func stepsFrom(b []byte) (steps []step) {
	for _, x := range b {
		switch {
		case x < 8:
			steps = append(steps, step{err: syscall.EINTR})
		case x < 64:
			steps = append(steps, step{err: errAgain})
		case x == 254:
			steps = append(steps, step{err: syscall.ECONNRESET})
		case x == 255:
			steps = append(steps, step{})
		default:
			steps = append(steps, step{n: int(x - 63)})
		}
	}
	return steps
}

// FuzzReader drains a scripted socket in ways that the second argument chooses, and
// compares with what a reader must get in the end.
func FuzzReader(f *testing.F) {
	f.Add([]byte{100, 10, 200, 3, 255}, []byte{0, 17, 200}, uint16(100), uint16(33))
	f.Add([]byte{253, 253, 253, 254}, []byte{1, 2}, uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, kernel, caller []byte, budget, chunk uint16) {
		cfg := Config{Budget: int(budget), Chunk: int(chunk), Prefix: caller}
		s := &script{tb: t, steps: stepsFrom(kernel)}
		want, wantEnd := model(s.steps)
		r := must(newReader(s.conn(), cfg, s.sys()))
		var got []byte
		var end error
		for i := 0; end == nil; i++ {
			x := byte(i)
			if len(caller) > 0 {
				x ^= caller[i%len(caller)]
			}
			drain := r.Drain
			if x&1 != 0 && i%1000 != 0 {
				drain = r.TryDrain
			}
			dst := make([]byte, x&3, int(x&3)+int(x))
			b, state, err := drain(dst)
			limit := cfg.Budget
			if limit == 0 {
				limit = 1 << 20
			}
			if i == 0 {
				limit += len(cfg.Prefix)
			}
			if n := len(b) - len(dst); n < 0 || n > limit || n > 0 && err != nil {
				t.Fatalf("%d bytes of at most %d, %v, %v", n, limit, state, err)
			}
			got = append(got, b[len(dst):]...)
			if end = err; state == EOF {
				end = io.EOF
			}
		}
		n := len(cfg.Prefix)
		if len(got) != n+want || string(got[:n]) != string(cfg.Prefix) || !isStream(got[n:]) || !errors.Is(end, wantEnd) {
			t.Fatalf("%d bytes, %v, want %d, %v", len(got), end, n+want, wantEnd)
		}
	})
}

// FuzzPump is the same for a Pump under each policy.
func FuzzPump(f *testing.F) {
	f.Add([]byte{100, 10, 200, 3, 255}, []byte{0, 17, 200}, uint16(100), uint16(33), byte(0))
	f.Add([]byte{253, 10, 253, 253, 254}, []byte{1, 2}, uint16(50), uint16(20), byte(1))
	f.Add([]byte{253, 10, 253, 253, 254}, []byte{3, 9, 1}, uint16(500), uint16(20), byte(2))
	f.Fuzz(func(t *testing.T, kernel, caller []byte, most, chunk uint16, policy byte) {
		cfg := Config{Max: int64(most), Resume: int64(most / 2), Chunk: int(chunk), Full: Policy(policy % 3)}
		if cfg.Full == Spill {
			cfg.Spill = spillQueue(t)
		}
		s := &script{tb: t, steps: stepsFrom(kernel)}
		want, wantEnd := model(s.steps)
		p := must(newPump(s.conn(), cfg, s.sys()))
		defer p.Close()
		var got []byte
		var end error
		for i := 0; end == nil; i++ {
			x := byte(i)
			if len(caller) > 0 {
				x = caller[i%len(caller)]
			}
			switch x % 3 {
			case 0:
				var b []byte
				b, end = p.Next(t.Context())
				got = append(got, b...)
			case 1:
				b := make([]byte, x)
				var n int
				n, end = p.Read(b)
				got = append(got, b[:n]...)
			case 2:
				w := &shortWriter{left: int(x)}
				_, end = p.WriteTo(w)
				got = append(got, w.got...)
				if end == nil {
					end = io.EOF
				} else if end == os.ErrPermission {
					end = nil
				}
			}
		}
		full := cfg.Full == Fail && end == ErrFull && len(got) > int(cfg.Max)
		if !isStream(got) || !full && (len(got) != want || !errors.Is(end, wantEnd)) {
			t.Fatalf("%+v: %d bytes, %v, want %d, %v", cfg, len(got), end, want, wantEnd)
		}
		st := p.Stats()
		most64 := int64(most)
		if most == 0 {
			most64 = 4 << 20
		}
		if cfg.Full == Fail {
			most64++
		}
		if st.MostHeld > most64 || st.Held != 0 || errors.Is(end, net.ErrClosed) && st.Bytes != int64(want) {
			t.Fatalf("%+v: %+v", cfg, st)
		}
	})
}
