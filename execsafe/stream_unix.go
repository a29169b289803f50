// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// readAll reads until EOF (nil) or the read deadline.
func (s *stream) readAll() error {
	var p []byte
	var rerr error
	read := func(fd uintptr) bool {
		p, rerr = s.readNow(fd)
		return rerr != syscall.EAGAIN
	}
	for {
		if err := s.raw.Read(read); err != nil {
			return err
		}
		if rerr != nil || len(p) == 0 {
			return rerr
		}
		s.took(p)
	}
}

// readNow is one read that does not wait.
func (s *stream) readNow(fd uintptr) ([]byte, error) {
	room := s.room()
	for {
		n, err := syscall.Read(int(fd), room)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			s.free()
			return nil, err
		}
		if n == chunkSize && s.feed != nil && !s.wide {
			s.wide = true
			widen(fd) // the child need not sleep while the loop is busy
		}
		return room[:n], nil
	}
}

// readRest reads what is in the pipe now, and reports whether somebody still holds
// the pipe open. It reads through Control, because an expired deadline fails reads
// even if there is something to read; and as the holder may write for ever, the rest
// is measured first.
func (s *stream) readRest() (held bool) {
	left := -1
	for {
		var p []byte
		var rerr error
		err := s.raw.Control(func(fd uintptr) {
			if left < 0 {
				left = unread(fd)
			}
			p, rerr = s.readNow(fd)
		})
		switch {
		case err != nil, rerr == nil && len(p) == 0:
			return false
		case rerr != nil:
			return rerr == syscall.EAGAIN
		}
		s.took(p)
		if left -= len(p); left < 0 {
			return true // more than there was: a descendant is writing
		}
	}
}

const interrupts = true

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isPipeGone reports whether err says that nobody reads a pipe any more.
func isPipeGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

func closeTemp(f *os.File) error { return f.Close() }
