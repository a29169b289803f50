// SPDX-License-Identifier: MIT

//go:build unix

package fdguard

import "io"

// One system call each, where the methods of os.File would add a second one at
// the end of the file, and go through its offset.

// read reads at the description's offset, of a private regular file.
func (c *core) read(p []byte) (int, error) { return read(c.fd, p[:min(len(p), maxIO)]) }

func (c *core) pread(p []byte, off int64) (n int, err error) {
	if len(p) > maxIO {
		p = p[:maxIO]
	}
	if c.private {
		return pread(c.fd, p, off)
	}
	err = c.withFD(func(fd uintptr) (err error) { n, err = pread(fd, p, off); return err })
	return n, err
}

// readAt is os.File.ReadAt without its lock, whose work acquire has done.
func (c *core) readAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := c.pread(p[n:], off+int64(n))
		n += m
		switch {
		case err != nil:
			return n, c.pathError("read", err)
		case m == 0:
			return n, io.EOF
		}
	}
	return n, nil
}

func (c *core) pwrite(p []byte, off int64) (n int, err error) {
	if len(p) > maxIO {
		p = p[:maxIO]
	}
	err = c.withFD(func(fd uintptr) (err error) { n, err = pwrite(fd, p, off); return err })
	return n, err
}

func (c *core) size() (n int64, err error) {
	err = c.withFD(func(fd uintptr) (err error) { n, err = fileSize(fd); return err })
	return n, err
}

func (c *core) appends() (yes bool) {
	_ = c.withFD(func(fd uintptr) error { yes = isAppend(fd); return nil })
	return yes
}

// maxIO is what the systems with a 32-bit limit still take in one call.
const maxIO = 1 << 30
