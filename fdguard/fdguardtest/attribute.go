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

// othersRunning reports whether a test other than the one named is inside its own
// code or between its subtests, rather than waiting in package testing for its turn
// or for parallel subtests, which are looked at themselves, or in package synctest
// for its bubble.
func othersRunning(test string) bool {
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
		own, _, isTest := strings.Cut(frames, "\ntesting.tRunner(")
		switch {
		case !isTest:
		case strings.Contains("\n"+own, "\ntesting.(*T).Run("):
			// Its subtest may be over, or not begun, at this moment, wherever in Run it is.
			if name := rootOf(own); isTestName(name) && name != test {
				return true
			}
		case strings.HasPrefix(frames, "testing.") || strings.HasPrefix(frames, "internal/synctest.Run("):
		default:
			return true
		}
	}
	return false
}

// rootOf returns the name of the top-level function that the outermost of the frames
// belongs to: two lines each, innermost first.
func rootOf(frames string) string {
	lines := strings.Split(frames, "\n")
	call, _, _ := strings.Cut(lines[max(0, len(lines)-2)], "(")
	return topLevelFunc(call)
}
