// SPDX-License-Identifier: MIT

package opencache

import (
	"io/fs"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// headSize is how much of a file net/http reads itself, to find the content's type and
// once more to send it with the header, before it turns to sendfile(2).
const headSize = 512

// A head is the beginning of a file, for as long as the file has the same stamp.
//
// A stamp does not tell one change from another that follows within the clock's
// tick, nor what a program writes through a mapping once the first write has set the
// times. So a head is only made of a file at rest, and made anew after [Config.Valid].
type head struct {
	bytes []byte      // headSize of them, or all
	info  fs.FileInfo // of the file
	stamp stamp       // of the file, before and after both were asked for
}

// rest is how long ago the last change has to be: as long as the coarsest clock ticks,
// which is FAT's.
const rest = 2 * time.Second

// readHead returns nil if it can promise nothing. A file without a size may have data
// all the same, in /proc.
func (c *Cache) readHead(f *fdguard.File, now time.Time) *head {
	before, err := c.sys.stamp(f)
	if err != nil || now.Sub(before.changed()) < c.sys.rest {
		return nil
	}
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil
	}
	bytes := make([]byte, min(info.Size(), headSize))
	if n, err := f.ReadAt(bytes, 0); n < len(bytes) || err != nil {
		return nil
	}
	if after, err := c.sys.stamp(f); err != nil || after != before {
		return nil
	}
	return &head{bytes, info, before}
}
