// SPDX-License-Identifier: MIT

//go:build !linux

package outbox

import (
	"errors"
	"net"
)

func unacknowledged(net.Conn) (int64, error) { return 0, errors.ErrUnsupported }
