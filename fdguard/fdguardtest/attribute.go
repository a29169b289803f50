// SPDX-License-Identifier: MIT

package fdguardtest

import (
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// testOf returns the name of the test function on a stack, innermost frame first, or
// "". A closure of a test function belongs to it: that covers goroutines the test
// started with a function literal, whose stacks do not reach the test itself.
func testOf(stack fdguard.Stack) string {
	for i := len(stack) - 1; i >= 0; i-- {
		if !strings.HasSuffix(stack[i].File, "_test.go") {
			continue
		}
		if name := topLevelFunc(stack[i].Func); isTestName(name) {
			return name
		}
	}
	return ""
}

// topLevelFunc returns F of "example.com/p.F.func1", and "" for a method.
func topLevelFunc(function string) string {
	_, name, _ := strings.Cut(function[strings.LastIndexByte(function, '/')+1:], ".")
	name, _, _ = strings.Cut(name, ".")
	name, _, _ = strings.Cut(name, "[") // type parameters
	return name
}

func isTestName(name string) bool {
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			r, _ := utf8.DecodeRuneInString(rest)
			return rest == "" || !unicode.IsLower(r)
		}
	}
	return false
}

// othersRunning reports whether a test other than the calling goroutine's is inside
// its own code, rather than waiting in package testing for its turn or for subtests,
// or in package synctest for its bubble.
func othersRunning() bool {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= 64<<20 {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	goroutines := strings.Split(string(buf), "\n\n")
	for _, g := range goroutines[1:] { // the first is this one
		_, frames, _ := strings.Cut(g, "\n")
		waits := strings.HasPrefix(frames, "testing.") || strings.HasPrefix(frames, "internal/synctest.Run(")
		if strings.Contains(frames, "\ntesting.tRunner(") && !waits {
			return true
		}
	}
	return false
}
