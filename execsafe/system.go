// SPDX-License-Identifier: MIT

package execsafe

import (
	"os"
	"os/exec"
	"syscall"
)

// A system is the calls whose order and failures matter, so that tests can play
// each. A Runner carries its own; nil stands for the real one.
type system struct {
	pipe  func() (r, w *os.File, err error)
	start func(cmd *exec.Cmd) error
	temp  func(dir string) (*os.File, error)
	kill  func(c *child, sig syscall.Signal) error // to the child's group
	// members counts the living of a group beside its leader.
	members func(pgid int) (int, error)

	noPidfd      bool // as before Linux 5.4
	noPidfdGroup bool // as before Linux 6.9
}

// realSystem is never changed.
var realSystem = system{
	pipe:  os.Pipe,
	start: (*exec.Cmd).Start,
	temp:  createTemp,
	kill:  (*child).kill,

	members: groupMembers,
}
