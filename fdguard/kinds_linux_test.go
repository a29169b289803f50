// SPDX-License-Identifier: MIT

package fdguard

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// G13: lending the number does not make a pipe blocking. Close wakes its reader.
func TestPipe(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t, Stacks)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *File, 1)
	go func() { // waits for a writer, as open(2) of a FIFO does
		f, _ := r.open(fifo, os.O_RDONLY, 0)
		opened <- f
	}()
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pw.Close()
	piped, err := r.wrap(pr)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*File{"FIFO": <-opened, "pipe": piped} {
		if _, err := f.Clone(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: Clone: %v", name, err)
		}
		err := f.Do(func(fd uintptr) error {
			flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
			if flags&unix.O_NONBLOCK == 0 {
				t.Errorf("%s: blocking", name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := f.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: Read after the deadline: %v", name, err)
		}
		if err := f.SetReadDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		done := make(chan error, 1)
		go func() { _, err := f.Read(make([]byte, 1)); done <- err }()
		for ops := 0; ops == 0; ops, _ = f.h.state() {
			select {
			case err := <-done:
				t.Fatalf("%s: Read does not wait: %v", name, err)
			case <-time.After(time.Millisecond):
			}
		}
		f.Close()
		wantClosed(t, name+": Read woken by Close", <-done)
	}
	if n := tableFiles(r); n != 0 {
		t.Errorf("%d files left", n)
	}
}

// G35: what is no regular file works with one holder, or says that it cannot.
func TestOtherKinds(t *testing.T) {
	t.Parallel()
	r, leaks := newRegistry(t, Stacks)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := r.open(dir, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := d.ReadDir(-1); err != nil || len(list) != 1 {
		t.Errorf("ReadDir: %v, %v", list, err)
	}
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		t.Error(err)
	}
	if list, err := d.Readdir(-1); err != nil || len(list) != 1 {
		t.Errorf("Readdir: %v, %v", list, err)
	}
	if _, err := d.Clone(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Clone of a directory: %v", err)
	}
	d.Close()

	p, err := r.open("/proc/self/status", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := p.Clone(); err == nil {
		text, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(text), "Name:") {
			t.Errorf("clone of a /proc file: %.20q, %v", text, err)
		}
		c.Close()
	} else if !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	p.Close()

	null, err := r.open("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := null.WriteString("x"); err != nil {
		t.Error(err)
	}
	if err := null.Do(func(fd uintptr) error {
		if flags, _ := unix.FcntlInt(fd, unix.F_GETFL, 0); flags&unix.O_NONBLOCK != 0 {
			t.Error("/dev/null was left non-blocking")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	null.Close()

	mem, err := unix.MemfdCreate("m", 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.adopt(uintptr(mem), "memfd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.WriteString("in memory"); err != nil {
		t.Error(err)
	}
	c := mustClone(t, m)
	wantRead(t, c, "in memory")
	c.Close()
	m.Close()

	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.adopt(uintptr(sp[0]), "socket")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Clone(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Clone of a socket: %v", err)
	}
	unix.Write(sp[1], []byte("hi"))
	unix.Close(sp[1])
	wantRead(t, s, "hi")
	s.Close()
	noLeak(t, leaks)
}
