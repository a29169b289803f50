// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/windows"
)

func (osDisk) lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return nil, ErrLocked
	}
	return nil, &os.PathError{Op: "LockFileEx", Path: name, Err: err}
}

// syncDir has nothing to call: NTFS journals directory changes by itself.
func (osDisk) syncDir(string) error { return nil }
