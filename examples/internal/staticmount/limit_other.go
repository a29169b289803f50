// SPDX-License-Identifier: MIT

//go:build !unix

package staticmount

import (
	"errors"
	"fmt"
)

func setLimit(uint64) error {
	return fmt.Errorf("limiting descriptors: %w", errors.ErrUnsupported)
}
