// SPDX-License-Identifier: MIT

package fdguardtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/fdguard"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

// A fakeT stands for the *testing.T of a test in these examples.
type fakeT struct{}

func (fakeT) Error(args ...any) { fmt.Println("the test fails") }

func ExampleVerifyNone() {
	var t fakeT
	test := func() {
		defer fdguardtest.VerifyNone(t, fdguardtest.IgnoreCurrent(), fdguardtest.Settle(0))

		f, err := fdguard.Open(os.DevNull)
		if err != nil {
			fmt.Println(err)
		}
		defer f.Close()
	}
	test()
	fmt.Println("done")
	// Output: done
}

func ExampleFind() {
	current := fdguardtest.IgnoreCurrent()
	f, err := fdguard.Open(os.DevNull)
	if err != nil {
		fmt.Println(err)
	}
	err = fdguardtest.Find(current, fdguardtest.Settle(0))
	leak, _ := err.(*fdguardtest.LeakError)
	fmt.Println(len(leak.Guarded), leak.Guarded[0].Name == os.DevNull)
	f.Close()
	fmt.Println(fdguardtest.Find(current))
	// Output:
	// 1 true
	// <nil>
}

func ExampleIgnoreName() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
	}
	defer os.RemoveAll(dir)
	current := fdguardtest.IgnoreCurrent()
	f, err := fdguard.OpenFile(filepath.Join(dir, "shared.log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Println(err)
	}
	defer f.Close()
	fmt.Println(fdguardtest.Find(current, fdguardtest.IgnoreName("*.log")))
	// Output: <nil>
}

// A TestMain that looks for descriptors, and one that looks for goroutines too.
func ExampleMain() {
	_ = func(m *testing.M) { fdguardtest.VerifyTestMain(m) }
	_ = func(m *testing.M) { goleak.VerifyTestMain(fdguardtest.Main(m)) }

	code := fdguardtest.Main(passing{}).Run()
	fmt.Println("exit code", code)
	// Output: exit code 0
}

func ExampleVerifyTestMain() {
	fdguardtest.VerifyTestMain(passing{}, fdguardtest.Cleanup(func(code int) { fmt.Println("exit code", code) }))
	// Output: exit code 0
}

type passing struct{}

func (passing) Run() int { return 0 }
