// SPDX-License-Identifier: MIT

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package outbox

import (
	"errors"
	"io"
	"os"
)

func (osDisk) lock(name string) (io.Closer, error) {
	return nil, &os.PathError{Op: "lock", Path: name, Err: errors.ErrUnsupported}
}

func (osDisk) syncDir(string) error { return nil }
