// SPDX-License-Identifier: MIT

package execsafe

import (
	"errors"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Without a descriptor to look into /proc, leftovers are killed all the same: they
// are only not counted.
func TestLeftoversDieUnseen(t *testing.T) {
	t.Parallel()
	for _, kernel := range kernels {
		sys := *kernel.sys()
		sys.members = func(int) (int, error) { return 0, unix.EMFILE }
		r := Runner{sys: &sys}
		res, err := r.Run(t.Context(), do(t, "forkquiet:sleep:1m", "out:x"))
		if err != nil || res.Swept != 0 {
			t.Errorf("%s: %+v, %v", kernel.name, res, err)
		}
		gone(t, res)
		if res, err = untilReady(t, r, "forkquiet:ignore+sleep:1m", "out:ready", "sleep:1m"); !errors.Is(err, ErrTimeout) {
			t.Errorf("%s: %+v, %v", kernel.name, res, err)
		}
		gone(t, res)
		if res, err := r.Run(t.Context(), exec.Command("true")); err != nil || res.Swept != 0 {
			t.Errorf("%s: %+v, %v", kernel.name, res, err)
		}
	}
}
