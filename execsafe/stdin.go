// SPDX-License-Identifier: MIT

package execsafe

import (
	"errors"
	"io"
	"os"
	"time"
)

// A feeder copies the caller's Stdin into the child's.
type feeder struct {
	src  io.Reader
	pipe io.WriteCloser // our end
	done chan struct{}  // closed once src is no longer read from
	err  error          // what src failed with; valid after done
}

func (f *feeder) run() {
	f.err = errors.New("Read ended its goroutine") // unless io.Copy returns
	defer func() {
		close(f.done)
		_ = f.pipe.Close()
	}()
	_, err := io.Copy(f.pipe, f.src)
	if isPipeGone(err) { // a child need not read what it is given
		err = nil
	}
	f.err = err
}

// stop ends the feeding and returns what went wrong. A Write ends with the pipe; a
// Read that does not return can only be abandoned, and closed if there is a way.
func (f *feeder) stop(patience time.Duration) error {
	_ = f.pipe.Close()
	select {
	case <-f.done:
		return f.err
	default:
	}
	if c, ok := f.src.(io.Closer); ok {
		go func() {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			select {
			case <-f.done:
			case <-timer.C:
				_ = c.Close()
			}
		}()
	}
	return nil
}

func isClosed(err error) bool { return errors.Is(err, os.ErrClosed) }
