// SPDX-License-Identifier: MIT

//go:build !unix

package execsafe

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// readAll reads until EOF (nil) or an error. The read cannot be interrupted here.
func (s *stream) readAll() error {
	for {
		room := s.room()
		n, err := s.file.Read(room)
		if n > 0 {
			s.took(room[:n])
			continue
		}
		if err == io.EOF {
			err = nil
		}
		return err
	}
}

func (s *stream) readRest() (held bool) { return true }

const interrupts = false

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

const errNoData = syscall.Errno(232) // ERROR_NO_DATA: the pipe is being closed

func isPipeGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, errNoData) || errors.Is(err, os.ErrClosed) ||
		errors.Is(err, syscall.Errno(109)) // ERROR_BROKEN_PIPE
}

// closeTemp removes the file too: it could not be unlinked while it was open.
func closeTemp(f *os.File) error {
	err := f.Close()
	if rerr := os.Remove(f.Name()); err == nil {
		err = rerr
	}
	return err
}
