// SPDX-License-Identifier: MIT

//go:build unix && !linux && !darwin

package sys

import (
	"errors"
	"fmt"
)

// RenameNoReplace is not to be had.
func (OS) RenameNoReplace(from, to string) error {
	return fmt.Errorf("rename without replacing: %w", errors.ErrUnsupported)
}
