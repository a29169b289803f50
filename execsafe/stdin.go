// SPDX-License-Identifier: MIT

package execsafe

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// A feeder copies the caller's Stdin into the child's.
type feeder struct {
	src  io.Reader
	pipe io.WriteCloser // our end
	once sync.Once      // closes pipe; who comes second waits until it is closed
	done chan struct{}  // closed once src is no longer read from
	err  error          // what src failed with; valid after done
}

func (f *feeder) run() {
	f.err = errors.New("Read ended its goroutine") // unless io.Copy returns
	defer func() {
		close(f.done)
		f.close()
	}()
	_, err := io.Copy(f.pipe, f.src)
	if isPipeGone(err) { // a child need not read what it is given
		err = nil
	}
	f.err = err
}

func (f *feeder) close() { f.once.Do(func() { _ = f.pipe.Close() }) }

// stop ends the feeding and returns what went wrong. A Write ends with the pipe; a
// Read that does not return can only be abandoned, and closed if there is a way.
func (f *feeder) stop(patience time.Duration) error {
	f.close()
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
