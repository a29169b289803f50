// SPDX-License-Identifier: MIT

//go:build !unix

package fdguard

import "errors"

func alive(uintptr) bool { return true }

const hasLimit, zeroCopy = false, false

func setLimit(uint64) error { return errors.ErrUnsupported }
