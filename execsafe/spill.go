// SPDX-License-Identifier: MIT

package execsafe

import (
	"fmt"
	"os"
)

// A spill is the part of a stream that lies in a temporary file, which is made
// when the first byte needs it.
type spill struct {
	dir  string
	max  int64
	temp func(dir string) (*os.File, error)
	file *os.File
	size int64 // bytes of the stream in file, always a prefix of what it was given
	err  error // the first refusal; nothing is written after it
}

// write appends as much of p as max allows. It reports a refusal once.
func (s *spill) write(p []byte) error {
	p = p[:min(int64(len(p)), s.max-s.size)]
	if s.err != nil || len(p) == 0 {
		return nil
	}
	if s.file == nil {
		if s.file, s.err = s.temp(s.dir); s.err != nil {
			return fmt.Errorf("%w: making a spill file: %w", ErrWriter, s.err)
		}
	}
	var n int
	n, s.err = s.file.Write(p)
	s.size += int64(n)
	if s.err != nil {
		return fmt.Errorf("%w: spilling output: %w", ErrWriter, s.err)
	}
	return nil
}
