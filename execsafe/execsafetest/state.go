// SPDX-License-Identifier: MIT

package execsafetest

import (
	"os"
	"reflect"
	"syscall"
	"unsafe"
)

// state makes an [os.ProcessState], which only package os can, of a wait status. If
// its fields are ever called otherwise, the state is that of exit status 0, which
// the tests of this package notice.
func state(ws syscall.WaitStatus) *os.ProcessState {
	ps := new(os.ProcessState)
	v := reflect.ValueOf(ps).Elem()
	if f := v.FieldByName("status"); f.IsValid() && f.Type() == reflect.TypeFor[syscall.WaitStatus]() {
		*(*syscall.WaitStatus)(unsafe.Pointer(f.UnsafeAddr())) = ws
	}
	if f := v.FieldByName("rusage"); f.IsValid() && f.Type() == reflect.TypeFor[*syscall.Rusage]() {
		*(**syscall.Rusage)(unsafe.Pointer(f.UnsafeAddr())) = new(syscall.Rusage)
	}
	return ps
}
