// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"math/bits"
	"sync"
)

const maxChunk = 1 << 30

// A chunk is a piece of memory that bytes are read into at w and taken from at r.
type chunk struct {
	buf    []byte
	r, w   int
	pinned bool   // a caller still looks at bytes before r
	next   *chunk // younger
	class  int    // the pool it came from; 0: none
}

// pools holds chunks of 1<<class bytes. It is shared, so that a thousand
// connections of which ten are busy need ten chunks.
var pools [32]sync.Pool

func newChunk(size int) *chunk {
	class := max(bits.Len(uint(size-1)), 1)
	c, _ := pools[class].Get().(*chunk)
	if c == nil {
		c = &chunk{buf: make([]byte, 1<<class), class: class}
	}
	c.buf = c.buf[:size]
	return c
}

// free gives c back. The caller must be the last to hold c or a slice of it.
func (c *chunk) free() {
	if c.class == 0 {
		return
	}
	*c = chunk{buf: c.buf[:1<<c.class], class: c.class}
	pools[c.class].Put(c)
}
