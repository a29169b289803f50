// SPDX-License-Identifier: MIT

//go:build !unix

package tcpdrain

import "errors"

// polls is false: on Windows a RawConn waits for reads but not for writes, and its
// deadlines are not to be relied on; elsewhere there is none.
const polls = false

var errAgain = errors.New("again")

func readFD(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
