// SPDX-License-Identifier: MIT

//go:build !unix

package execsafe

import (
	"os"
	"os/exec"
	"syscall"
)

// A child can be killed here, but not asked to end.

func prepareGroup(*exec.Cmd, *Runner) (leader bool) { return false }

func (c *child) kill(sig syscall.Signal) error {
	if sig == 0 {
		return nil
	}
	return c.cmd.Process.Signal(sig)
}

func (c *child) signal(sig os.Signal) error { return c.cmd.Process.Signal(sig) }
func (c *child) terminate() error           { return c.killAll() }
func (c *child) killAll() error             { return c.sys.kill(c, syscall.SIGKILL) }
func (c *child) members() int               { return 0 }

func maxRSS(*os.ProcessState) int64 { return 0 }

func createTemp(dir string) (*os.File, error) { return os.CreateTemp(dir, "execsafe-*") }
