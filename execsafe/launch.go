// SPDX-License-Identifier: MIT

package execsafe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startRetrying starts a copy of c, as os/exec starts a Cmd only once, and returns
// it. While a file is open for writing anywhere, it cannot be executed (ETXTBSY), and
// a fork elsewhere in this process may hold it open for the moment between its fork
// and its exec; so that failure, and no other, is tried again: 8 times in 127 ms.
func startRetrying(ctx context.Context, sys *system, c *exec.Cmd, red redactor) (*exec.Cmd, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		try := *c
		err := sys.start(&try)
		if err == nil {
			return &try, nil
		}
		if !errors.Is(err, errTextBusy) || wait > 64*time.Millisecond {
			hint, err := explain(c, err)
			if err = red.err(err); hint != "" {
				err = fmt.Errorf("%w (%s)", err, red.text(hint))
			}
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// checkNUL finds the strings that no C program could be given.
func checkNUL(cmd *exec.Cmd) error {
	nul := func(s string) bool { return strings.IndexByte(s, 0) >= 0 }
	switch {
	case nul(cmd.Path):
		return fmt.Errorf("%w: Path contains a NUL byte", ErrInvalid)
	case nul(cmd.Dir):
		return fmt.Errorf("%w: Dir contains a NUL byte", ErrInvalid)
	}
	for i, a := range cmd.Args {
		if nul(a) {
			return fmt.Errorf("%w: argument %d contains a NUL byte", ErrInvalid, i)
		}
	}
	for _, e := range cmd.Env {
		if nul(e) {
			name, _, _ := strings.Cut(e, "=")
			return fmt.Errorf("%w: environment variable %q contains a NUL byte", ErrInvalid, name)
		}
	}
	return nil
}

// explain says what a failed start was about where the kernel's errno, reported
// on the program, does not: chdir and the interpreter fail with the same ENOENT.
func explain(c *exec.Cmd, err error) (hint string, _ error) {
	if c.Dir != "" {
		fi, derr := os.Stat(c.Dir)
		if pe, ok := errors.AsType[*fs.PathError](derr); ok {
			return "", &fs.PathError{Op: "chdir", Path: c.Dir, Err: pe.Err}
		} else if derr == nil && !fi.IsDir() {
			return "", &fs.PathError{Op: "chdir", Path: c.Dir, Err: syscall.ENOTDIR}
		}
	}
	switch {
	case errors.Is(err, syscall.E2BIG):
		n := 0
		for _, s := range c.Args {
			n += len(s) + 1
		}
		for _, s := range c.Environ() {
			n += len(s) + 1
		}
		return fmt.Sprintf("%d bytes in %d arguments and the environment", n, len(c.Args)), err
	case errors.Is(err, syscall.EAGAIN):
		return "no more processes allowed: RLIMIT_NPROC, or pids.max of a cgroup", err
	case errors.Is(err, errExecFormat):
		return "neither a program for this system nor a script that begins with #!", err
	case errors.Is(err, fs.ErrNotExist):
		return missingInterpreter(c), err
	}
	return "", err
}

// missingInterpreter explains why a program that exists was not found.
func missingInterpreter(c *exec.Cmd) string {
	path := c.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	interp, ok := strings.CutPrefix(string(line), "#!")
	if !ok {
		return "the program exists, its loader does not"
	}
	if fields := strings.Fields(interp); len(fields) > 0 {
		return fmt.Sprintf("the script exists, its interpreter %s does not", fields[0])
	}
	return "the script exists, but names no interpreter"
}
