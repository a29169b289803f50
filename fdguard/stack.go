// SPDX-License-Identifier: MIT

package fdguard

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Stack is where something happened: innermost frame first, at most 16
// and the calls inlined into them.
type Stack []Frame

// A Frame is one call.
type Frame struct {
	Func string
	File string
	Line int
}

func (f Frame) String() string { return fmt.Sprintf("%s (%s:%d)", f.Func, f.File, f.Line) }

// String gives one frame per line.
func (s Stack) String() string {
	var b strings.Builder
	for i, f := range s {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.String())
	}
	return b.String()
}

const (
	maxFrames = 16
	// maxStacks bounds the table of different stacks. Call sites are few; only
	// recursion of changing depth makes many.
	maxStacks = 1 << 14
)

// A stack is one call stack, stored once however many handles were opened from it.
type stack struct {
	pcs    [maxFrames]uintptr // zero where there are fewer
	next   *stack             // in the chain
	once   sync.Once
	frames Stack
}

// stacks has them in chains by hash. What is in a chain stays there unchanged, so
// that finding a stack takes no lock.
type stacks struct {
	chains [1 << 10]atomic.Pointer[stack]
	mu     sync.Mutex // for those who add
	n      int
}

func (t *stacks) find(pcs *[maxFrames]uintptr) *stack {
	hash := uint64(0)
	for _, pc := range pcs {
		hash = (hash ^ uint64(pc)) * 0x9e3779b97f4a7c15
	}
	chain := &t.chains[hash>>(64-10)]
	known := func() *stack {
		s := chain.Load()
		for s != nil && s.pcs != *pcs {
			s = s.next
		}
		return s
	}
	if s := known(); s != nil {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := known(); s != nil {
		return s
	}
	if t.n == maxStacks {
		return tooMany
	}
	t.n++
	s := &stack{pcs: *pcs, next: chain.Load()}
	chain.Store(s)
	return s
}

// tooMany stands for all further stacks once the table is full.
var tooMany = &stack{frames: Stack{{Func: "(more than 16384 different stacks)"}}}

// capture returns the caller's stack, nil below level Stacks.
func (r *registry) capture() *stack {
	if r.level() < Stacks {
		return nil
	}
	var pcs [maxFrames]uintptr
	callers(&pcs)
	return r.stacks.find(&pcs)
}

// resolve returns the frames, looked up the first time, without those of this
// package that the stack begins with.
func (s *stack) resolve() Stack {
	if s == nil {
		return nil
	}
	s.once.Do(func() {
		n := slices.Index(s.pcs[:], 0)
		if n == 0 {
			return
		}
		if n < 0 {
			n = maxFrames
		}
		frames, own := runtime.CallersFrames(s.pcs[:n]), 0
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if f.Function == "" {
				continue
			}
			s.frames = append(s.frames, Frame{f.Function, f.File, f.Line})
			if n := len(s.frames); n <= maxOwn && strings.HasPrefix(f.Function, ownPrefix) && !strings.HasSuffix(f.File, "_test.go") {
				own = n
			}
		}
		s.frames = s.frames[own:]
	})
	return s.frames
}

// ownPrefix is what the names of this package's functions begin with, and maxOwn
// how deep the innermost one can be: Wrap's, inside os.File's SyscallConn.
var ownPrefix = reflect.TypeFor[File]().PkgPath() + "."

const maxOwn = 8
