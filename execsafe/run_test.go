// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"
)

func TestRunSmoke(t *testing.T) {
	t.Parallel()
	res, err := Run(t.Context(), exec.Command("sh", "-c", "echo hi; echo oops >&2; exit 3"))
	var ee *exec.ExitError
	if !errors.As(err, &ee) || res.ExitCode != 3 || res.Stdout.String() != "hi\n" || res.Stderr.String() != "oops\n" {
		t.Errorf("%+v %v", res, err)
	}
	t.Log(err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	res, err = Run(ctx, exec.Command("sh", "-c", "echo hi; sleep 30; true"))
	t.Log(res, err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	res, err = Run(t.Context(), exec.Command("sh", "-c", "sleep 30 & echo hi"))
	t.Logf("%+v %v", res, err)
	res, err = Run(t.Context(), exec.Command("head", "-c", "10000000", "/dev/zero"))
	t.Logf("%v %v", res.Stdout.Len(), err)
}
