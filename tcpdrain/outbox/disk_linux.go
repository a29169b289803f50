// SPDX-License-Identifier: MIT

package outbox

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// sync leaves out the timestamps, which costs a journal commit less (fdatasync(2)).
func (f *osFile) sync() error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = rc.Control(func(fd uintptr) {
		serr = retry(func() error { return unix.Fdatasync(int(fd)) })
	})
	return errors.Join(err, os.NewSyscallError("fdatasync", serr))
}

// shared maps only where blocks that fallocate(2) has promised are written in
// place. On a copy-on-write file system a store could still find the disk full,
// and would be answered with SIGBUS instead of an error.
func (f *osFile) shared(off int64, n int) (mem []byte, err error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := rc.Control(func(fd uintptr) {
		var st unix.Statfs_t
		if err = retry(func() error { return unix.Fstatfs(int(fd), &st) }); err != nil {
			return
		}
		switch uint32(st.Type) {
		case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		default:
			err = errors.ErrUnsupported
			return
		}
		if err = retry(func() error { return unix.Fallocate(int(fd), 0, off, int64(n)) }); err != nil {
			return
		}
		mem, err = unix.Mmap(int(fd), off, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	})
	return mem, errors.Join(cerr, err)
}

func (f *osFile) unmap(mem []byte) error { return unix.Munmap(mem) }

func (osDisk) boot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// isChecksumError reports what file systems with checksums say of damaged blocks.
func isChecksumError(err error) bool {
	return errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG) || errors.Is(err, unix.ENODATA)
}
