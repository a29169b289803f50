// SPDX-License-Identifier: MIT

package fdguard

import (
	"fmt"
	"reflect"
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
func (r *registry) capture() *stack {
	if r.level() < Stacks {
		return nil
	}
	var pcs [maxFrames]uintptr
	n := callers(&pcs)
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

// resolve returns the frames, looked up the first time, without those of this
// package that the stack begins with.
func (s *stack) resolve() Stack {
	if s == nil {
		return nil
	}
	s.once.Do(func() {
		if len(s.pcs) == 0 {
			return
		}
		frames, own := runtime.CallersFrames(s.pcs), 0
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
