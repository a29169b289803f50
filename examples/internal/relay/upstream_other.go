// SPDX-License-Identifier: MIT

//go:build !unix

package relay

import (
	"errors"
	"fmt"
	"net"
)

func sendNow(*net.TCPConn, []byte) error {
	return fmt.Errorf("sending without waiting: %w", errors.ErrUnsupported)
}
