// SPDX-License-Identifier: MIT

//go:build !unix

package fsrace

import "errors"

func mkfifo(string) error { return errors.ErrUnsupported }
