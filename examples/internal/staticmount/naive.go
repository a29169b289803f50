// SPDX-License-Identifier: MIT

package staticmount

import (
	"errors"
	"net/http"
	"sync"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A counter is the way it happened: who wraps a file takes a reference, and who
// closes the wrapper gives one back. Each layer is right by itself. Two layers that
// wrap the same file make two references, and the server, which has one body in its
// hand, closes it once.
type counter struct {
	mu   sync.Mutex
	refs map[*fdguard.File]int
}

// wrap is the server's file wrapper, the cast step of every app.
func (c *counter) wrap(f http.File) (http.File, error) {
	if w, ok := f.(*counted); ok {
		f = w.File // "already wrapped": kind, but the count goes up all the same
	}
	guarded, ok := f.(*fdguard.File)
	if !ok {
		return nil, errors.New("not a file from the disk")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refs == nil {
		c.refs = make(map[*fdguard.File]int)
	}
	c.refs[guarded]++
	return &counted{guarded, c}, nil
}

type counted struct {
	*fdguard.File
	by *counter
}

func (w *counted) Close() error {
	w.by.mu.Lock()
	w.by.refs[w.File]--
	last := w.by.refs[w.File] == 0
	if last {
		delete(w.by.refs, w.File)
	}
	w.by.mu.Unlock()
	if last {
		return w.File.Close()
	}
	return nil
}
