// SPDX-License-Identifier: MIT

package fdguard

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
)

// A Stack is where something happened: innermost frame first, at most 16.
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
	pcs    []uintptr
	once   sync.Once
	frames Stack
}

type stacks struct {
	mu sync.Mutex
	m  map[[maxFrames]uintptr]*stack
}

// tooMany stands for all further stacks once the table is full.
var tooMany = &stack{frames: Stack{{Func: "(more than 16384 different stacks)"}}}

// capture returns the caller's stack, nil below level Stacks.
func (r *registry) capture(skip int) *stack {
	if r.level() < Stacks {
		return nil
	}
	var pcs [maxFrames]uintptr
	n := runtime.Callers(skip+2, pcs[:])
	t := &r.stacks
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.m[pcs]
	if s == nil {
		if len(t.m) >= maxStacks {
			return tooMany
		}
		if t.m == nil {
			t.m = make(map[[maxFrames]uintptr]*stack)
		}
		s = &stack{pcs: append([]uintptr(nil), pcs[:n]...)}
		t.m[pcs] = s
	}
	return s
}

// resolve returns the frames, looked up the first time.
func (s *stack) resolve() Stack {
	if s == nil {
		return nil
	}
	s.once.Do(func() {
		if len(s.pcs) == 0 {
			return
		}
		frames := runtime.CallersFrames(s.pcs)
		for {
			f, more := frames.Next()
			s.frames = append(s.frames, Frame{f.Function, f.File, f.Line})
			if !more {
				return
			}
		}
	})
	return s.frames
}
