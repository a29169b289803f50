// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { roles["behind"] = roleBehind }

// G1: a number that was closed behind the guard and now belongs to a file that is
// wrapped or adopted is that file's.
func TestNumberTakenBehindTheGuard(t *testing.T) {
	t.Parallel()
	runRole(t, "behind") // where no other test takes the number
}

func roleBehind() error {
	tmp, err := os.CreateTemp("", "fdguard")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	tmp.Close()
	var kinds []Kind
	OnLeak(func(l Leak) { kinds = append(kinds, l.Kind) })

	first := map[string]func() (*File, error){ // opens, and closes behind the guard
		"opened": func() (*File, error) {
			f, err := Open(os.Args[0])
			if err == nil {
				err = unix.Close(int(f.h.core.fd))
			}
			return f, err
		},
		"wrapped": func() (*File, error) {
			o, err := os.Open(os.Args[0])
			if err != nil {
				return nil, err
			}
			f, err := Wrap(o)
			return f, errors.Join(err, o.Close())
		},
	}
	second := map[string]func() (*File, error){
		"wrapped": func() (*File, error) {
			o, err := os.Open(tmp.Name())
			if err != nil {
				return nil, err
			}
			return Wrap(o)
		},
		"adopted": func() (*File, error) {
			fd, err := unix.Open(tmp.Name(), unix.O_RDONLY, 0)
			if err != nil {
				return nil, err
			}
			return Adopt(uintptr(fd), "adopted")
		},
	}
	for was, first := range first {
		for is, second := range second {
			what := was + ", then " + is
			fail := func(text string, err error) error { return errors.New(what + ": " + text + ": " + errText(err)) }
			old, err := first()
			if err != nil {
				return fail("first", err)
			}
			f, err := second()
			if err != nil {
				return fail("refused for a number its owner had lost", err)
			}
			if f.h.core.fd != old.h.core.fd {
				return fail("the number was not reused", nil)
			}
			if _, err := old.Stat(); !errors.Is(err, fs.ErrClosed) {
				return fail("the old handle was used", err)
			}
			if err := old.Close(); !errors.Is(err, fs.ErrClosed) {
				return fail("the old handle's Close", err)
			}
			if len(kinds) != 1 || kinds[0] != StrangerClosed {
				return fail("wrong reports", nil)
			}
			kinds = nil
			if _, err := f.Stat(); err != nil {
				return fail("the new handle", err)
			}
			if err := f.Close(); err != nil || len(kinds) != 0 {
				return fail("the new handle's Close", err)
			}
		}
	}

	// Nor is a number given away by Detach that has become another's.
	SetLevel(Paranoid)
	f, err := first["opened"]()
	if err != nil {
		return err
	}
	victim, err := os.Open(tmp.Name())
	if err != nil {
		return err
	}
	if o, err := f.Detach(); o != nil || !errors.Is(err, fs.ErrClosed) {
		return errors.New("Detach gave a stranger's file away: " + errText(err))
	}
	if len(kinds) != 1 || kinds[0] != StrangerClosed {
		return errors.New("Detach of a stranger's file: wrong reports")
	}
	_, err = victim.Stat()
	return err
}

func errText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// A handle that is dropped at level Off leaves no private description behind.
func TestDroppedAtOffLeavesNoPrivateDescription(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Off)
	func() {
		f, err := r.open(writeTemp(t, "hello"), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		g, err := f.Clone()
		if err != nil {
			t.Fatal(err)
		}
		rc, err := g.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := rc.Read(func(uintptr) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}()
	if n := r.private.Load(); n != 1 {
		t.Errorf("%d private descriptions, want 1 kept", n)
	}
	collect(t, "the private description", func() bool { return r.private.Load() == 0 })
	noLeak(t, leaks)
}

// Refused handles are in no profile, and are not reported as dropped.
func TestRefusedHandlesLeaveNoTrace(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	p := newPublicProfile(t, r)
	f := mustOpen(t, r, "x")
	if _, err := r.adopt(f.h.core.fd, "thief"); err == nil {
		t.Fatal("adopted")
	}
	if n := p.Count(); n != 1 {
		t.Errorf("%d in the profile, want 1", n)
	}
	time.Sleep(10 * time.Millisecond)
	collect(t, "nothing", func() bool { return true })
	noLeak(t, leaks)
}
