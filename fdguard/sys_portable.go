// SPDX-License-Identifier: MIT

//go:build !linux

package fdguard

import (
	"io/fs"
	"os"
)

func openPortable(name string, flag int, perm fs.FileMode) (*os.File, uintptr, fileID, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, 0, fileID{}, err
	}
	rc, err := f.SyscallConn()
	if err == nil {
		var fd uintptr
		var id fileID
		if err = rc.Control(func(n uintptr) { fd, id = n, describe(n) }); err == nil {
			return f, fd, id, nil
		}
	}
	f.Close()
	return nil, 0, fileID{}, err
}
