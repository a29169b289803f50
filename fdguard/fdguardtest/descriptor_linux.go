// SPDX-License-Identifier: MIT

package fdguardtest

import (
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

const selfFD = "/proc/self/fd"

// openDescriptors lists what is open, without the descriptor it needs for that.
func openDescriptors() []Descriptor {
	var all []Descriptor
	for _, fd := range numbers() {
		if d, ok := describe(fd); ok {
			all = append(all, d)
		}
	}
	return all
}

// numbers reads the directory through os.Open on purpose: that starts the
// runtime's poller, so that its epoll and eventfd belong to every listing and never
// appear late. Without a free descriptor, or without /proc, it probes.
func numbers() []int {
	dir, err := os.Open(selfFD)
	if err != nil {
		return probe()
	}
	own := int(dir.Fd())
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return probe()
	}
	fds := make([]int, 0, len(names))
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd != own {
			fds = append(fds, fd)
		}
	}
	slices.Sort(fds)
	return fds
}

func link(fd int) string {
	name, err := os.Readlink(selfFD + "/" + strconv.Itoa(fd))
	if err != nil {
		return ""
	}
	return name
}

// splicePipeSize is the capacity the standard library gives the pipes it pools for
// splice(2) (internal/poll, maxSpliceSize). os.Pipe leaves the default of 64 KiB.
const splicePipeSize = 1 << 20

// withoutPooledPipes removes the pipes that io.Copy between connections keeps in a
// pool: both ends are here, it is empty, and its capacity is the pool's.
func withoutPooledPipes(ds []Descriptor) []Descriptor {
	type inode struct{ dev, ino uint64 }
	ends := make(map[inode]int)
	for _, d := range ds {
		ends[inode{d.dev, d.ino}]++
	}
	return slices.DeleteFunc(ds, func(d Descriptor) bool {
		if ends[inode{d.dev, d.ino}] != 2 {
			return false
		}
		size, err := unix.FcntlInt(uintptr(d.FD), unix.F_GETPIPE_SZ, 0)
		if err != nil || size != splicePipeSize {
			return false
		}
		queued, err := unix.IoctlGetInt(d.FD, unix.TIOCINQ)
		return err == nil && queued == 0
	})
}
