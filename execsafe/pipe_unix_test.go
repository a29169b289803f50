// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(text string) *exec.Cmd { return exec.Command("sh", "-c", text) }

func TestPipeConnectsItsStages(t *testing.T) {
	t.Parallel()
	first := exec.Command("cat")
	first.Stdin = strings.NewReader("c\na\nb\n")
	cmds := []*exec.Cmd{first, exec.Command("sort"), sh("cat; echo done >&2")}
	res, err := Pipe(t.Context(), cmds...)
	if err != nil || res.Stdout.String() != "a\nb\nc\n" || res.Stderr.String() != "done\n" || len(res.Stages) != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	for i, st := range res.Stages {
		if st.Args[0] != cmds[i].Args[0] || st.ExitCode != 0 || cmds[i].ProcessState == nil {
			t.Errorf("stage %d: %+v", i+1, st)
		}
	}
	res, err = Pipe(t.Context(), sh("head -c 10000000 /dev/zero"), exec.Command("cat"), exec.Command("wc", "-c"))
	if err != nil || strings.TrimSpace(res.Stdout.String()) != "10000000" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
	if res, err := Pipe(t.Context(), sh("echo alone")); err != nil || res.Stdout.String() != "alone\n" || len(res.Stages) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

// Bash's pipefail would blame the stage that its reader left.
func TestPipeBlamesTheRightStage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cmds  []*exec.Cmd
		blame int // from 1; 0: no error
		code  int
	}{
		"all well":                        {[]*exec.Cmd{sh("echo x"), sh("cat"), sh("cat")}, 0, 0},
		"reader had enough":               {[]*exec.Cmd{exec.Command("yes"), sh("head -1")}, 0, 0},
		"reader had enough, shell tells":  {[]*exec.Cmd{sh("yes; exit $?"), sh("head -1")}, 0, 0},
		"first":                           {[]*exec.Cmd{sh("echo why >&2; exit 3"), sh("cat"), sh("cat")}, 1, 3},
		"middle, with its writer cut off": {[]*exec.Cmd{exec.Command("yes"), sh("echo why >&2; exit 4"), sh("cat >/dev/null; exit 5")}, 2, 4},
		"last":                            {[]*exec.Cmd{exec.Command("yes"), sh("exec <&-; echo why >&2; exit 6")}, 2, 6},
		"last, of a broken pipe":          {[]*exec.Cmd{sh("echo x"), sh("echo why >&2; kill -PIPE $$")}, 2, -1},
		"does not start":                  {[]*exec.Cmd{exec.Command("yes"), exec.Command("/nowhere/at/all"), sh("cat")}, 2, -1},
		"first does not start":            {[]*exec.Cmd{exec.Command("/nowhere/at/all"), sh("cat")}, 1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := Pipe(t.Context(), tc.cmds...)
			if len(res.Stages) != len(tc.cmds) {
				t.Fatalf("%d stages", len(res.Stages))
			}
			if tc.blame == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			st := res.Stages[tc.blame-1]
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("stage %d of %d", tc.blame, len(tc.cmds))) || res.ExitCode != tc.code || res.Reason != st.Reason {
				t.Fatalf("%+v, %v", res, err)
			}
			if st.Reason != StartFailed && (res.Stderr.String() != "why\n" || !strings.HasSuffix(err.Error(), "why")) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestPipeIsStoppedAsAWhole(t *testing.T) {
	t.Parallel()
	stages := func() []*exec.Cmd { return []*exec.Cmd{sh("sleep 60"), exec.Command("yes"), sh("sleep 60 & cat")} }
	for name, tc := range map[string]struct {
		r      Runner
		reason Reason
		want   error
		blame  int
	}{
		"timeout": {Runner{Timeout: soon, Stdout: Tail(1)}, TimedOut, ErrTimeout, 1},
		"limit":   {Runner{Stdout: All(100)}, OutputLimited, ErrOutputLimit, 3},
		"tee":     {Runner{Stdout: Tail(1).Tee(writerFunc(func([]byte) (int, error) { return 0, os.ErrPermission }))}, WriterFailed, os.ErrPermission, 3},
	} {
		within(t, soon, func() {
			res, err := tc.r.Pipe(t.Context(), stages()...)
			if !errors.Is(err, tc.want) || res.Reason != tc.reason || !strings.Contains(err.Error(), fmt.Sprintf("stage %d of 3", tc.blame)) {
				t.Errorf("%s: %v: %v", name, res.Reason, err)
			}
		})
	}
	why := errors.New("why")
	ctx, cancel := context.WithTimeoutCause(t.Context(), soon, why)
	defer cancel()
	if res, err := Pipe(ctx, sh("sleep 60"), sh("cat")); !errors.Is(err, why) || res.Reason != Canceled {
		t.Errorf("%v: %v", res.Reason, err)
	}
}

// The silence of a stage is not that of the pipeline.
func TestPipeIsIdleAsAWhole(t *testing.T) {
	t.Parallel()
	talk := "i=0; while [ $i -lt 25 ]; do echo x; sleep 0.1; i=$((i+1)); done"
	r := Runner{Idle: 2 * time.Second}
	if res, err := r.Pipe(t.Context(), sh(talk), exec.Command("cat"), sh("cat")); err != nil || res.Stdout.Len() != 50 {
		t.Errorf("%q, %v", res.Stdout, err)
	}
	r.Idle = soon
	if _, err := r.Pipe(t.Context(), sh("sleep 60"), sh("cat")); !errors.Is(err, ErrIdle) {
		t.Error(err)
	}
}

// G45: a stage cannot be kept from starting by one that is gone already, as none
// joins another one's group.
func TestPipeAfterAStageThatHasExited(t *testing.T) {
	t.Parallel()
	sys := realSystem
	n := 0
	sys.start = func(c *exec.Cmd) error {
		if n++; n > 1 {
			time.Sleep(50 * time.Millisecond) // the one before has exited and been reaped
		}
		return c.Start()
	}
	res, err := Runner{sys: &sys}.Pipe(t.Context(), sh("echo x"), sh("cat"), sh("cat"))
	if err != nil || res.Stdout.String() != "x\n" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
}

func TestPipeRunsOutOfDescriptors(t *testing.T) {
	t.Parallel()
	for step := 1; step <= 6; step++ {
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
		res, err := Runner{sys: &sys}.Pipe(t.Context(), exec.Command("yes"), sh("cat"), sh("cat"))
		if !errors.Is(err, syscall.EMFILE) || res.Reason != StartFailed {
			t.Errorf("step %d: %v: %v", step, res.Reason, err)
		}
		for i, f := range files {
			eventually(t, fmt.Sprintf("end %d of step %d to be closed", i, step), func() bool {
				_, err := f.Read(nil)
				return errors.Is(err, os.ErrClosed)
			})
		}
	}
}

func TestBadPipelinesAreNamed(t *testing.T) {
	t.Parallel()
	same := exec.Command("cat")
	in, out := exec.Command("cat"), exec.Command("cat")
	in.Stdin, out.Stdout = strings.NewReader(""), os.Stdout
	var none context.Context
	for want, f := range map[string]func() (*Result, error){
		"no commands":              func() (*Result, error) { return Pipe(t.Context()) },
		"stage 2: nil *exec.Cmd":   func() (*Result, error) { return Pipe(t.Context(), same, nil) },
		"stage 2: Stdin is set":    func() (*Result, error) { return Pipe(t.Context(), same, in) },
		"stage 1: Stdout is set":   func() (*Result, error) { return Pipe(t.Context(), out, same) },
		"stage 2: already started": func() (*Result, error) { return Pipe(t.Context(), same, same) },
		"nil context":              func() (*Result, error) { return Pipe(none, same) },
	} {
		if res, err := f(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || res.Reason != StartFailed {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestPipeSharesItsTeeAndItsOnEvent(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer // the race detector is the judge
	events := 0
	r := Runner{Stderr: Capture{}.Tee(&buf), OnEvent: func(Event) { events++ }}
	res, err := r.Pipe(t.Context(), sh("echo 1 >&2"), sh("echo 2 >&2"), sh("echo 3 >&2"))
	if err != nil || buf.Len() != 6 || events < 6 || res.Stderr.String() != "3\n" || res.Stages[0].Stderr.String() != "1\n" {
		t.Errorf("%q, %d events, %v", &buf, events, err)
	}
}
