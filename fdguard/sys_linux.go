// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

var realSys = sys{open: openFile, close: (*os.File).Close, reopen: reopen, prepare: prepare, identify: identify}

// openFile is os.OpenFile at half its cost: that one makes four fcntl calls and
// one epoll_ctl, which are of use only for what can be polled.
func openFile(name string, flag int, perm fs.FileMode) (*os.File, uintptr, fileID, error) {
	fd, err := openHigh(name, flag, sysMode(perm))
	if err != nil {
		return nil, 0, fileID{}, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	id := identify(uintptr(fd))
	if id.pollable() && flag&unix.O_NONBLOCK == 0 {
		// NewFile uses the poller if it finds the descriptor non-blocking.
		if err := unix.SetNonblock(fd, true); err != nil {
			unix.Close(fd)
			return nil, 0, fileID{}, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		f := os.NewFile(uintptr(fd), name)
		if errors.Is(f.SetDeadline(time.Time{}), os.ErrNoDeadline) {
			_ = unix.SetNonblock(fd, false) // cannot be polled after all
		}
		return f, uintptr(fd), id, nil
	}
	return os.NewFile(uintptr(fd), name), uintptr(fd), id, nil
}

// openHigh opens with close-on-exec, and not as one of the standard three: in a
// process that closed them, a stray print would write into the file.
func openHigh(name string, flag int, perm uint32) (int, error) {
	for {
		fd, err := unix.Open(name, flag|unix.O_CLOEXEC, perm)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && fd < 3:
			high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
			unix.Close(fd)
			return high, err
		}
		return fd, err
	}
}

func sysMode(m fs.FileMode) uint32 {
	o := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		o |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		o |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		o |= unix.S_ISVTX
	}
	return o
}

// reopen opens the file behind fd once more, for a description with an offset of
// its own. Opening through /proc checks permissions anew and can fail where the
// first open did not; it also could grant what the first did not, which is why
// the access mode is looked at.
func reopen(fd uintptr) (uintptr, error) {
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return 0, err
	}
	if flags&unix.O_ACCMODE == unix.O_WRONLY || flags&unix.O_PATH != 0 {
		return 0, errors.ErrUnsupported
	}
	n, err := openHigh("/proc/self/fd/"+strconv.Itoa(int(fd)), unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	if identify(uintptr(n)) != identify(fd) { // not the /proc it should be
		unix.Close(n)
		return 0, errors.ErrUnsupported
	}
	return uintptr(n), nil
}

// Linux appends whatever the offset; see BUGS in pwrite(2).
const appendsAtOffset = true

// processOpen counts the process's descriptors without using one: the size of
// /proc/self/fd is their number since Linux 6.2.
func processOpen() int {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/fd", &st); err != nil {
		return -1
	}
	if st.Size > 0 {
		return int(st.Size)
	}
	if d, err := os.Open("/proc/self/fd"); err == nil {
		defer d.Close()
		if names, err := d.Readdirnames(-1); err == nil {
			return len(names) - 1 // but for the one that reads
		}
	}
	return probeOpen()
}

// probeOpen asks for each number up to the limit, where none is left to read the
// directory with.
func probeOpen() int {
	soft, _ := limits()
	n := 0
	for fd := range min(soft, 1<<16) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}
