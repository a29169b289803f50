// SPDX-License-Identifier: MIT

package execsafe

import (
	"bytes"
	"testing"
	"time"
)

// G11: a slow writer keeps the drain behind, so that much is still in the pipe when
// Linger has passed. A read would then fail with the deadline, data or not.
func TestNothingIsLostWhenTheDrainIsBehind(t *testing.T) {
	t.Parallel()
	const size = 900_000
	var got bytes.Buffer
	slow := writerFunc(func(p []byte) (int, error) {
		time.Sleep(100 * time.Millisecond)
		return got.Write(p)
	})
	r := Runner{Linger: time.Second, Stdout: All(1 << 20).Tee(slow)}
	res, err := r.Run(t.Context(), do(t, "bigpipe:1048576", "outn:900000"))
	if err != nil || res.PipeHeld || res.Stdout.String() != pattern(size) || got.String() != pattern(size) {
		t.Errorf("%d bytes, %d written, %v", res.Stdout.Len(), got.Len(), err)
	}
	if res.Wall < r.Linger+100*time.Millisecond {
		t.Skipf("the pipe could not be made so big: done after %v", res.Wall)
	}
}
