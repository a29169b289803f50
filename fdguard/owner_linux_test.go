// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// G22: a number has one owner.
func TestAdoptOwned(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	f := mustOpen(t, r, "hello")
	_, err := r.adopt(f.h.core.fd, "thief")
	owned, ok := errors.AsType[*OwnedError](err)
	if !ok || owned.Name != f.Name() || len(owned.Stack) == 0 || !strings.HasSuffix(owned.Stack[0].Func, ".mustOpen") || owned.FD != f.h.core.fd {
		t.Fatalf("Adopt of an owned number: %v", err)
	}
	if !strings.Contains(err.Error(), "mustOpen") || !strings.Contains(err.Error(), f.Name()) {
		t.Errorf("the message hides the owner: %v", err)
	}
	collect(t, "nothing", func() bool { return true })
	wantRead(t, f, "hello") // no finalizer of the refused one has closed it

	fd, err := unix.Open(f.Name(), unix.O_RDONLY, 0) // inheritable, on purpose
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.adopt(uintptr(fd), "adopted")
	if err != nil {
		t.Fatal(err)
	}
	if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("not made close-on-exec")
	}
	if g.Name() != "adopted" {
		t.Errorf("name %q", g.Name())
	}
	wantRead(t, g, "hello")
	g.Close()
	if _, err := r.adopt(1<<30, "none"); !errors.Is(err, unix.EBADF) {
		t.Errorf("Adopt of nothing: %v", err)
	}
	noLeak(t, leaks)
}

// G12: a duplicate is a descriptor, and a row, of its own.
func TestDuplicateIsARow(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dup, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.wrap(dup)
	if err != nil {
		t.Fatal(err)
	}
	if rows := r.handles(); len(rows) != 1 {
		t.Errorf("table: %+v", rows)
	}
	f.Close()
}

// G23: children inherit nothing.
func TestChildrenInheritNothing(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	f := mustOpen(t, r, "unmistakable")
	g := mustClone(t, f)
	rc, err := g.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Read(func(uintptr) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if n := r.private.Load(); n != 1 {
		t.Errorf("%d private descriptions, want 1 kept", n)
	}
	d := mustOpen(t, r, "unmistakable")
	bare, err := d.Detach()
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	out, err := exec.CommandContext(t.Context(), "ls", "-l", "/proc/self/fd").Output()
	if err != nil {
		t.Skip("ls:", err)
	}
	for _, name := range []string{f.Name(), bare.Name()} {
		if strings.Contains(string(out), name) {
			t.Errorf("the child has %s:\n%s", name, out)
		}
	}
}

// G34, part: a clone of a file that cannot be opened anew falls back to copying.
func TestNoPrivateDescription(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	r.sys.reopen = func(uintptr) (uintptr, error) { return 0, unix.EMFILE }
	body := strings.Repeat("0123456789", 10_000)
	f := mustOpen(t, r, body)
	if got := sendOverTCP(t, mustClone(t, f)); got != body {
		t.Errorf("got %d bytes, want %d", len(got), len(body))
	}
	if n := r.private.Load(); n != 0 {
		t.Errorf("%d private descriptions", n)
	}
}

// A file opened for writing only gains no reader by the way of /proc.
func TestNoPrivateDescriptionOfAWriteOnlyFile(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	f, err := r.open(writeTemp(t, "secret"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rc, err := mustClone(t, f).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Read(func(uintptr) bool { return true }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("lent a description: %v", err)
	}
}

func sendOverTCP(t *testing.T, f *File) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, f)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return string(got)
}
