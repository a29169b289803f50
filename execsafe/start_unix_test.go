// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// script writes an executable file.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// G28, G29, G31 and the bad input of the specification: each is named.
func TestStartFailuresAreNamed(t *testing.T) {
	t.Parallel()
	file := script(t, "no program")
	piped := func(f func(*exec.Cmd)) *exec.Cmd {
		cmd := exec.Command("true")
		t.Cleanup(func() { cmd.Run() }) // which closes what StdinPipe and the others have opened
		f(cmd)
		return cmd
	}
	huge := strings.Repeat("x", 1<<17) // one argument may have 128 KiB
	for name, tc := range map[string]struct {
		cmd  *exec.Cmd
		is   error
		text string
	}{
		"nil":                   {nil, ErrInvalid, "nil *exec.Cmd"},
		"no path":               {&exec.Cmd{}, ErrInvalid, "empty Path"},
		"not found by PATH":     {exec.Command("no-such-program-anywhere"), exec.ErrNotFound, "no-such-program-anywhere"},
		"not there":             {exec.Command("/nowhere/at/all"), fs.ErrNotExist, "/nowhere/at/all"},
		"not executable":        {exec.Command("/dev/null"), fs.ErrPermission, "/dev/null"},
		"missing directory":     {&exec.Cmd{Path: "/bin/true", Dir: "/nowhere/at/all"}, fs.ErrNotExist, "chdir /nowhere/at/all: no such file"},
		"directory is a file":   {&exec.Cmd{Path: "/bin/true", Dir: file}, syscall.ENOTDIR, "chdir " + file},
		"missing interpreter":   {exec.Command(script(t, "#!/nowhere/at/all -x\n")), fs.ErrNotExist, "interpreter /nowhere/at/all does not"},
		"no interpreter":        {exec.Command(file), syscall.ENOEXEC, "#!"},
		"NUL in argument":       {exec.Command("true", "a", "b\x00c"), ErrInvalid, "argument 2"},
		"NUL in path":           {exec.Command("/bin/tr\x00ue"), ErrInvalid, "Path"},
		"NUL in directory":      {&exec.Cmd{Path: "/bin/true", Dir: "/\x00"}, ErrInvalid, "Dir"},
		"NUL in environment":    {&exec.Cmd{Path: "/bin/true", Env: []string{"A=1", "B=\x00"}}, ErrInvalid, `"B"`},
		"too long":              {exec.Command("true", huge), syscall.E2BIG, "bytes in 2 arguments"},
		"stdout is a buffer":    {&exec.Cmd{Path: "/bin/true", Stdout: new(bytes.Buffer)}, ErrInvalid, "Cmd.Stdout is set; use Runner.Stdout"},
		"stderr is a buffer":    {&exec.Cmd{Path: "/bin/true", Stderr: new(bytes.Buffer)}, ErrInvalid, "Cmd.Stderr"},
		"StdinPipe was called":  {piped(func(c *exec.Cmd) { c.StdinPipe() }), ErrInvalid, "Pipe was called"},
		"StdoutPipe was called": {piped(func(c *exec.Cmd) { c.StdoutPipe() }), ErrInvalid, "Pipe was called"},
		"StderrPipe was called": {piped(func(c *exec.Cmd) { c.StderrPipe() }), ErrInvalid, "Pipe was called"},
		"already started":       {piped(func(c *exec.Cmd) { c.Run() }), ErrStarted, "already started"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := Run(t.Context(), tc.cmd)
			if !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%v\nwant %q and %q", err, tc.is, tc.text)
			}
			if res == nil || res.Reason != StartFailed || res.ExitCode != -1 || res.Stdout == nil || res.Stderr == nil {
				t.Errorf("result %+v", res)
			}
			if p, err2 := Start(t.Context(), tc.cmd); p != nil || err2 == nil {
				t.Error("Start started it")
			}
			if len(err.Error()) > 2000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
	for name, r := range map[string]Runner{
		"Runner.Timeout": {Timeout: -1}, "Runner.Idle": {Idle: -1}, "Runner.MaxLine": {MaxLine: -1},
		"Runner.Stdout": {Stdout: Tail(-1)}, "Runner.Stderr": {Stderr: All(-1)}, "Runner.Leftovers": {Leftovers: 7},
		"Runner.Cgroup": {Cgroup: "/nowhere/at/all"},
	} {
		if _, err := r.Run(t.Context(), exec.Command("true")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var none context.Context
	if _, err := Run(none, exec.Command("true")); !errors.Is(err, ErrInvalid) {
		t.Errorf("nil context: %v", err)
	}
}

// G23
func TestCanceledContextStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	cancel(why)
	sys := realSystem
	sys.start = func(*exec.Cmd) error { t.Error("started"); return nil }
	sys.pipe = func() (r, w *os.File, err error) { t.Error("made a pipe"); return nil, nil, nil }
	cmd := exec.Command("true")
	res, err := Runner{sys: &sys}.Run(ctx, cmd)
	if !errors.Is(err, why) || res.Reason != Canceled || cmd.Process != nil {
		t.Errorf("%v: %v", res.Reason, err)
	}
}

// A command that did not start may be tried again.
func TestFailedStartCanBeRepeated(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "later")
	cmd := exec.Command(name)
	if _, err := Run(t.Context(), cmd); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/true", name); err != nil {
		t.Fatal(err)
	}
	mustRun(t, Runner{}, cmd)
	if _, err := Run(t.Context(), cmd); !errors.Is(err, ErrStarted) || !errors.Is(err, ErrInvalid) {
		t.Errorf("a second start: %v", err)
	}
}

// G30, by the seam: a bounded number of retries, for this error only.
func TestBusyProgramIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail      int
		err       error
		wantTries int
		want      error
	}{
		"three times busy": {3, syscall.ETXTBSY, 4, nil},
		"always busy":      {1000, syscall.ETXTBSY, 8, syscall.ETXTBSY},
		"too big":          {1000, syscall.E2BIG, 1, syscall.E2BIG},
		"no processes":     {1000, syscall.EAGAIN, 1, syscall.EAGAIN},
		"no memory":        {1000, syscall.ENOMEM, 1, syscall.ENOMEM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			sys := realSystem
			sys.start = func(c *exec.Cmd) error {
				if tries++; tries <= tc.fail {
					return &fs.PathError{Op: "fork/exec", Path: c.Path, Err: tc.err}
				}
				return c.Start()
			}
			_, err := Runner{sys: &sys}.Run(t.Context(), exec.Command("true"))
			if tries != tc.wantTries || !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("%d tries: %v", tries, err)
			}
		})
	}
	sys := realSystem
	ctx, cancel := context.WithCancel(t.Context())
	sys.start = func(*exec.Cmd) error { cancel(); return syscall.ETXTBSY }
	if res, err := (Runner{sys: &sys}).Run(ctx, exec.Command("true")); !errors.Is(err, context.Canceled) || res.Reason != Canceled {
		t.Errorf("canceled between two tries: %v: %v", res.Reason, err)
	}
}

// G30, for real: forks elsewhere hold a program open that was just written.
func TestFreshProgramsRunUnderAForkStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 120 processes")
	}
	t.Parallel()
	truth, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 30 {
				name := filepath.Join(dir, string(rune('a'+i))+string(rune('A'+j)))
				if err := os.WriteFile(name, truth, 0o700); err != nil {
					t.Error(err)
					return
				}
				if _, err := Run(t.Context(), exec.Command(name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// G27: each system call of a start fails once; nothing stays open.
func TestStartFailingAtEachStep(t *testing.T) {
	t.Parallel()
	for step := 1; step <= 4; step++ {
		n := 0
		var files []*os.File
		sys := realSystem
		sys.pipe = func() (r, w *os.File, err error) {
			if n++; n == step {
				return nil, nil, &os.SyscallError{Syscall: "pipe2", Err: syscall.EMFILE}
			}
			r, w, err = os.Pipe()
			files = append(files, r, w)
			return r, w, err
		}
		sys.start = func(*exec.Cmd) error { return &fs.PathError{Op: "fork/exec", Path: "x", Err: syscall.EMFILE} }
		cmd := exec.Command("true")
		cmd.Stdin = strings.NewReader("x")
		_, err := Runner{sys: &sys}.Run(t.Context(), cmd)
		if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("step %d: %v", step, err)
		}
		for _, f := range files {
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("step %d: a pipe is open", step)
			}
		}
		if want := 2 * (step - 1); len(files) != want {
			t.Errorf("step %d: %d ends of pipes, want %d", step, len(files), want)
		}
	}
}

// A child that SIGKILL does not end, as in an uninterruptible system call, is left
// behind in time, and buried when it ends.
func TestChildThatWillNotDie(t *testing.T) {
	t.Parallel()
	sys := realSystem
	sys.kill = func(*child, syscall.Signal) error { return nil }
	r := Runner{Timeout: 50 * time.Millisecond, Grace: 50 * time.Millisecond, Linger: 50 * time.Millisecond, sys: &sys}
	cmd := do(t, "out:x", "sleep:1m")
	within(t, 150*time.Millisecond, func() {
		res, err := r.Run(t.Context(), cmd)
		if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "still running after SIGKILL") || res.ExitCode != -1 || !res.Escalated {
			t.Errorf("%+v, %v", res, err)
		}
	})
	pid := cmd.Process.Pid
	syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "the child to be reaped", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
}
