// SPDX-License-Identifier: MIT

//go:build gc && unix && !purego && (amd64 || arm64)

package fdguard

import (
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// cutShort counts the walks that ended at a boundary; callers does not use those.
var cutShort atomic.Int32

// compareStacks says where the walk and runtime.Callers differ, for its caller.
//
//go:noinline
func compareStacks(t *testing.T, what string) {
	var walked, called [maxFrames]uintptr
	n, whole := framePCs(&walked, 0)
	m := runtime.Callers(2, called[:])
	got, want := frameFuncs(walked[:n]), frameFuncs(called[:m])
	if !whole { // this stack lies across a boundary of 4 MiB, as one in many does
		cutShort.Add(1)
		want = want[:min(len(got), len(want))]
	}
	// One counts inlined calls among its 16, the other the wrappers left out here.
	if n == maxFrames || m == maxFrames {
		both := min(len(got), len(want))
		got, want = got[:both], want[:both]
	}
	if whole && len(want) < min(m, 3) || !slices.Equal(got, want) {
		t.Errorf("%s:\n  walked %s\n  called %s", what, got, want)
	}
}

// wrapper is what the compiler and reflection make, and runtime.Callers leaves out.
var wrapper = regexp.MustCompile(`\.(gowrap|deferwrap)\d+$|^runtime\.(call\d+|reflectcall)$|^reflect\.(callReflect|makeFuncStub|callMethod|methodValueCall)$`)

func frameFuncs(pcs []uintptr) (names []string) {
	frames := runtime.CallersFrames(pcs)
	for more := len(pcs) > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if !wrapper.MatchString(f.Function) {
			names = append(names, f.Function[strings.LastIndexByte(f.Function, '/')+1:])
		}
	}
	return names
}

type viaMethod struct{ *testing.T }

func (v viaMethod) compare() { compareStacks(v.T, "through an interface") }

type viaPromotion struct{ viaMethod }

//go:noinline
func deepCompare(t *testing.T, n int) byte {
	var big [4096]byte // a few hundred of these make the stack grow, and move
	if n == 0 {
		compareStacks(t, "deep, on a stack that has moved")
		return big[0]
	}
	return deepCompare(t, n-1) + big[n%len(big)]
}

// The frame pointers lead where runtime.Callers finds its way by tables.
func TestFramePointersAgree(t *testing.T) {
	t.Parallel()
	compareStacks(t, "plainly")
	inlined := func() { compareStacks(t, "inlined") }
	inlined()
	interface{ compare() }(viaPromotion{viaMethod{t}}).compare()
	reflect.ValueOf(compareStacks).Call([]reflect.Value{reflect.ValueOf(t), reflect.ValueOf("by reflection")})
	made := reflect.MakeFunc(reflect.TypeFor[func()](), func([]reflect.Value) []reflect.Value {
		compareStacks(t, "in a made function")
		return nil
	}).Interface().(func())
	made()
	slices.SortFunc([]int{2, 1}, func(a, b int) int { compareStacks(t, "in a callback"); return a - b })
	func() {
		defer func() { _ = recover() }()
		defer func() { compareStacks(t, "deferred, in a panic") }()
		panic("panic")
	}()
	compareStacks(t, "after a recovery")
	func() {
		defer func() { _ = recover() }()
		defer func() { compareStacks(t, "deferred, in a fault") }()
		var none *viaMethod
		t.Log(none.T)
	}()
	var wg sync.WaitGroup
	for _, n := range []int{0, 1, 14, 15, 16, 17, 400} {
		wg.Go(func() { deepCompare(t, n) })
	}
	wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		compareStacks(t, "on a locked thread")
	})
	wg.Add(2)
	go compareBare(t, &wg)
	time.AfterFunc(0, func() { defer wg.Done(); compareStacks(t, "in a timer") })
	wg.Wait()
	if n := cutShort.Swap(0); n > 9 {
		t.Errorf("%d of some 18 walks did not come to the end", n)
	}
}

func compareBare(t *testing.T, wg *sync.WaitGroup) {
	defer wg.Done()
	compareStacks(t, "outermost")
}

// A chain that others have broken is left before anything unmapped is read.
func TestFramePointersBroken(t *testing.T) {
	t.Parallel()
	const chunk = 4 << 20
	var pcs [maxFrames]uintptr
	var chain [6]uintptr // on the stack: frames at 0, 2 and 4
	at := func(i int) uintptr { return uintptr(unsafe.Pointer(&chain[i])) }
	sp := at(0)
	for what, next := range map[string]uintptr{
		"to itself":           2,
		"back":                0,
		"off by one":          100,
		"to the next 4 MiB":   200,
		"across the boundary": 300,
		"to null's page":      400,
		"to nowhere":          500,
	} {
		chain = [6]uintptr{at(2), 11, 0, 22, 0, 33}
		switch next {
		case 200:
			next = (sp/chunk + 1) * chunk
		case 300:
			next = (sp/chunk+1)*chunk - 8
		case 400:
			next = 8
		case 500:
			next = ^uintptr(0) - 7
		case 100:
			next = at(4) + 1
		default:
			next = at(int(next))
		}
		chain[2] = next
		n, whole := framePCs(&pcs, at(0))
		if n != 2 || whole || pcs[0] != 11 || pcs[1] != 22 {
			t.Errorf("leading %s: %d frames, whole %v", what, n, whole)
		}
	}
	chain = [6]uintptr{at(2), 11, at(4), 22, 0, 33}
	if n, whole := framePCs(&pcs, at(0)); n != 3 || !whole {
		t.Errorf("unbroken: %d frames, whole %v", n, whole)
	}
	for _, from := range []uintptr{8, sp / chunk * chunk, ^uintptr(0) - 7} {
		if n, whole := framePCs(&pcs, from); n != 0 || whole {
			t.Errorf("from %#x: %d frames, whole %v", from, n, whole)
		}
	}
}
