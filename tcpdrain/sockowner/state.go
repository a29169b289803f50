// SPDX-License-Identifier: MIT

package sockowner

import "strconv"

// A State is a TCP connection state of RFC 9293 §3.3.2, numbered as Linux does.
type State uint8

// The states a connection can be in. Lookup never returns Listen.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Closed
	CloseWait
	LastAck
	Listen
	Closing
)

var stateNames = [...]string{
	Established: "ESTABLISHED",
	SynSent:     "SYN_SENT",
	SynRecv:     "SYN_RECV",
	FinWait1:    "FIN_WAIT1",
	FinWait2:    "FIN_WAIT2",
	TimeWait:    "TIME_WAIT",
	Closed:      "CLOSE",
	CloseWait:   "CLOSE_WAIT",
	LastAck:     "LAST_ACK",
	Listen:      "LISTEN",
	Closing:     "CLOSING",
}

// String returns the state's name as netstat(8) prints it, such as FIN_WAIT1, or
// State(N) if N is none.
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return "State(" + strconv.Itoa(int(s)) + ")"
	}
	return stateNames[s]
}
