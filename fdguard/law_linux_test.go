// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	roles["low"] = roleLow
	roles["strangers"] = roleStrangers
}

// G38: with the standard descriptors closed, a file does not become one of them.
func TestNeverAStandardDescriptor(t *testing.T) {
	t.Parallel()
	runRole(t, "low")
}

func roleLow() error {
	unix.Close(0)
	f, err := Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := f.Clone()
	if err != nil {
		return err
	}
	defer g.Close()
	unix.Close(0)
	l, err := g.h.core.lease()
	if err != nil {
		return err
	}
	g.h.core.unlease(l)
	return f.Do(func(fd uintptr) error {
		if fd < 3 || l.fd < 3 {
			return errors.New("opened as a standard descriptor")
		}
		return nil
	})
}

// G1: a descriptor that a stranger closed, and whose number went to a victim, is
// not closed again.
func TestStrangerClosed(t *testing.T) {
	t.Parallel()
	runRole(t, "strangers") // where no other test takes the number
}

func roleStrangers() error {
	dir, err := os.MkdirTemp("", "fdguard")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(a, nil, 0o600), os.WriteFile(b, nil, 0o600)); err != nil {
		return err
	}
	var leaks []Leak
	OnLeak(func(l Leak) { leaks = append(leaks, l) })
	want := func(what string, kinds ...Kind) error {
		got := leaks
		leaks = nil
		if len(got) != len(kinds) {
			return errors.New(what + ": wrong number of reports")
		}
		for i := range got {
			if got[i].Kind != kinds[i] || got[i].Name != a {
				return errors.New(what + ": wrong report: " + got[i].Kind.String() + " of " + got[i].Name)
			}
		}
		return nil
	}
	open := func() (*File, uintptr, error) {
		f, err := Open(a)
		if err != nil {
			return nil, 0, err
		}
		return f, f.h.core.fd, nil
	}

	SetLevel(Paranoid)
	f, fd, err := open()
	if err != nil {
		return err
	}
	unix.Close(int(fd))
	victim, err := os.Open(b)
	if err != nil {
		return err
	}
	if victim.Fd() != fd {
		return errors.New("the number was not reused")
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		return errors.New("Close did not say that the descriptor was closed behind it")
	}
	f = nil
	for range 3 { // nor does a finalizer close it
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if _, err := victim.Stat(); err != nil {
		return err
	}
	if err := want("at Paranoid", StrangerClosed); err != nil {
		return err
	}
	victim.Close()

	// At any level, when the number comes back to us.
	SetLevel(Stacks)
	f, fd, err = open()
	if err != nil {
		return err
	}
	unix.Close(int(fd))
	v, err := Open(b)
	if err != nil {
		return err
	}
	if _, err := f.Stat(); v.h.core.fd != fd || !errors.Is(err, fs.ErrClosed) {
		return errors.New("a stolen descriptor was used")
	}
	if rows := Handles(); len(rows) != 2 || !rows[0].Lost || rows[1].Lost {
		return errors.New("the table does not show the loss")
	}
	f.Close()
	if _, err := v.Stat(); err != nil {
		return err
	}
	if err := want("at Stacks", StrangerClosed); err != nil {
		return err
	}
	v.Close()

	// A wrapped *os.File whose former owner closes it.
	o, err := os.Open(a)
	if err != nil {
		return err
	}
	f, err = Wrap(o)
	if err != nil {
		return err
	}
	o.Close()
	if err := f.Do(func(uintptr) error { return nil }); !errors.Is(err, fs.ErrClosed) {
		return errors.New("Do lent the number of a file closed by its former owner")
	}
	f.Close()
	if err := want("wrapped", StrangerClosed); err != nil {
		return err
	}
	if rep := Snapshot(); rep.Tracked != 0 || rep.Files != 0 {
		return errors.New("not empty in the end")
	}
	return nil
}

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
