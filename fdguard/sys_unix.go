// SPDX-License-Identifier: MIT

//go:build unix

package fdguard

import (
	"math"

	"golang.org/x/sys/unix"
)

// identify returns what the number means now.
func identify(fd uintptr) fileID {
	var st unix.Stat_t
	for {
		switch err := unix.Fstat(int(fd), &st); err {
		case nil:
			return fileID{uint64(st.Dev), uint64(st.Ino), uint32(st.Mode) & unix.S_IFMT}
		case unix.EINTR:
		default:
			return fileID{}
		}
	}
}

// prepare makes fd close-on-exec and says what it is.
func prepare(fd uintptr) (fileID, error) {
	if _, err := unix.FcntlInt(fd, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return fileID{}, err
	}
	return identify(fd), nil
}

// pollable reports whether reading may have to wait for somebody.
func (id fileID) pollable() bool {
	switch id.mode {
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR:
		return true
	}
	return false
}

func (id fileID) regular() bool { return id.mode == unix.S_IFREG }

func read(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func pread(fd uintptr, p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(int(fd), p, off)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func pwrite(fd uintptr, p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pwrite(int(fd), p, off)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func fileSize(fd uintptr) (int64, error) {
	var st unix.Stat_t
	for {
		if err := unix.Fstat(int(fd), &st); err != unix.EINTR {
			return st.Size, err
		}
	}
}

func isAppend(fd uintptr) bool {
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	return err == nil && flags&unix.O_APPEND != 0
}

func lseek(fd uintptr, off int64, whence int) (int64, error) { return unix.Seek(int(fd), off, whence) }

func closeFD(fd uintptr) { unix.Close(int(fd)) }

// limits returns RLIMIT_NOFILE as it is now.
func limits() (soft, hard int64) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return -1, -1
	}
	return clip(uint64(lim.Cur)), clip(uint64(lim.Max))
}

// clip turns "unlimited" into the largest number.
func clip(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
