// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() { roles["mounts"] = mountsRole }

// mountsRole runs in a mount namespace of its own.
func mountsRole(args []string) error {
	base := args[0]
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// A part on another file system, and a part that is another mount of the same.
	for name, mount := range map[string]func(dir string) error{
		"tmpfs": func(dir string) error { return unix.Mount("none", dir, "tmpfs", 0, "") },
		"bind":  func(dir string) error { return unix.Mount(dir, dir, "", unix.MS_BIND, "") },
	} {
		dir := filepath.Join(base, name)
		part := filepath.Join(dir, donePart)
		if err := os.MkdirAll(part, 0o755); err != nil {
			return err
		}
		if err := mount(part); err != nil {
			return err
		}
		_, err := Open(dir, Config{})
		if le, ok := errors.AsType[*LayoutError](err); !ok || le.Part != donePart {
			return fmt.Errorf("with %s on %s, Open says %v", name, donePart, err)
		}
	}
	// A spool that has become read-only can be looked at.
	dir := filepath.Join(base, "readonly")
	s, err := Open(dir, Config{})
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if _, err := Open(dir, Config{}); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("read-only: Open says %v", err)
	}
	o, err := Open(dir, Config{Observer: true})
	if err != nil {
		return fmt.Errorf("read-only: an observer is told %v", err)
	}
	if _, err := o.Entries(); err != nil {
		return err
	}
	return o.Close()
}

func TestMounts(t *testing.T) { // G41
	t.Parallel()
	cmd := reexec(t, "mounts", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("no mount namespaces here: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
