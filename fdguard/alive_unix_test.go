// SPDX-License-Identifier: MIT

//go:build unix

package fdguard

import (
	"reflect"
	"runtime"

	"golang.org/x/sys/unix"
)

// alive reports whether the number is open.
func alive(fd uintptr) bool {
	_, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
	return err == nil
}

const hasLimit = true // by RLIMIT_NOFILE

const zeroCopy = runtime.GOOS == "linux"

// setLimit sets the soft limit of descriptors.
func setLimit(n uint64) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	setCur(&lim, n)
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
}

func setCur[T any](lim *T, n uint64) {
	f := reflect.ValueOf(lim).Elem().FieldByName("Cur") // signed on some systems
	if f.CanInt() {
		f.SetInt(int64(n))
	} else {
		f.SetUint(n)
	}
}
