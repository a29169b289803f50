// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"errors"
	"os/exec"
)

func (r Runner) Pipe(ctx context.Context, cmds ...*exec.Cmd) (*Result, error) {
	return nil, errors.ErrUnsupported
}
