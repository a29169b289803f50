// SPDX-License-Identifier: MIT

//go:build unix

package fdguardtest

import (
	"flag"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// probeMax bounds a probe where the limit is huge or infinite.
const probeMax = 1 << 16

// probe finds the open descriptors by asking for each number's flags. It is the
// way that needs no descriptor itself, and no mounted file system.
func probe() []int {
	var limit unix.Rlimit
	top := probeMax
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && uint64(limit.Cur) < probeMax {
		top = int(limit.Cur)
	}
	var fds []int
	for fd := range top {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds
}

// describe reports ok=false if fd was closed meanwhile.
func describe(fd int) (d Descriptor, ok bool) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Descriptor{}, false
	}
	d = Descriptor{FD: fd, dev: uint64(st.Dev), ino: uint64(st.Ino)}
	if d.Name = link(fd); d.Name == "" {
		d.Name = typeName(uint32(st.Mode), d)
	}
	return d, true
}

// isTestingFile reports whether d is a file that package testing keeps open during
// the tests, because of a flag that go test may set by itself.
func isTestingFile(d Descriptor) bool {
	value := func(name string) string {
		if f := flag.Lookup(name); f != nil {
			return f.Value.String()
		}
		return ""
	}
	for _, name := range []string{"test.testlogfile", "test.cpuprofile", "test.trace"} {
		for _, dir := range []string{"", value("test.outputdir")} {
			var st unix.Stat_t
			if file := value(name); file != "" && unix.Stat(filepath.Join(dir, file), &st) == nil &&
				uint64(st.Dev) == d.dev && uint64(st.Ino) == d.ino {
				return true
			}
		}
	}
	return false
}

func typeName(mode uint32, d Descriptor) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return fmt.Sprintf("regular file %d:%d", d.dev, d.ino)
	case unix.S_IFDIR:
		return fmt.Sprintf("directory %d:%d", d.dev, d.ino)
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFIFO:
		return "pipe"
	case unix.S_IFCHR:
		return fmt.Sprintf("character device %d:%d", d.dev, d.ino)
	}
	return fmt.Sprintf("descriptor of mode %#o", mode)
}
