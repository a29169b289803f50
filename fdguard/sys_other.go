// SPDX-License-Identifier: MIT

//go:build !unix

package fdguard

import (
	"errors"
	"io"
	"os"
)

const appendsAtOffset = false

var realSys = sys{open: openPortable, close: (*os.File).Close, reopen: noReopen, prepare: noPrepare, identify: noIdentify}

func noReopen(uintptr) (uintptr, error) { return 0, errors.ErrUnsupported }
func noPrepare(uintptr) (fileID, error) { return fileID{}, nil }
func noIdentify(uintptr) fileID         { return fileID{} }
func describe(uintptr) fileID           { return fileID{} }

func lseek(uintptr, int64, int) (int64, error) { return 0, errors.ErrUnsupported }
func closeFD(uintptr)                          {}

func (fileID) regular() bool { return false }

func (c *core) read(p []byte) (int, error) { return 0, errors.ErrUnsupported }

func (c *core) pread(p []byte, off int64) (int, error) {
	n, err := c.file.ReadAt(p, off)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func (c *core) readAt(p []byte, off int64) (int, error) { return c.file.ReadAt(p, off) }

func (c *core) pwrite(p []byte, off int64) (int, error) { return c.file.WriteAt(p, off) }

func (c *core) size() (int64, error) {
	info, err := c.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// appends cannot be found out here; WriteAt refuses a file opened for appending.
func (c *core) appends() bool { return false }

func processOpen() int           { return -1 }
func limits() (soft, hard int64) { return -1, -1 }
