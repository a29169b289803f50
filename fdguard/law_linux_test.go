// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
