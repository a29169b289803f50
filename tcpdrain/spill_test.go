// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"testing"

	"github.com/seed-b08dbae9/sysprim/tcpdrain/outbox"
)

// spillQueue returns an empty queue that is not fsynced while in use.
func spillQueue(tb testing.TB) *outbox.Queue {
	tb.Helper()
	q := must(outbox.Open(tb.TempDir(), outbox.Config{Sync: outbox.Never}))
	tb.Cleanup(func() { q.Close() })
	return q
}
