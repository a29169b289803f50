// SPDX-License-Identifier: MIT

//go:build !linux

package sockowner

import (
	"errors"
	"fmt"
	"runtime"
)

func lookup(tuple, string) (Owner, error) {
	return Owner{}, fmt.Errorf("on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
