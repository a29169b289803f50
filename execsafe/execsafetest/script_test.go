// SPDX-License-Identifier: MIT

package execsafetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/execsafe"
	"github.com/seed-b08dbae9/sysprim/execsafe/execsafetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(fdguardtest.Main(m)) }

// tb plays the test that a Script reports to.
type tb struct {
	errors  []string
	cleanup []func()
}

func (t *tb) Helper() {}
func (t *tb) Errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}
func (t *tb) Cleanup(f func()) { t.cleanup = append(t.cleanup, f) }
func (t *tb) end() {
	for _, f := range t.cleanup {
		f()
	}
}

func TestResultsLookLikeThoseOfACommand(t *testing.T) {
	t.Parallel()
	s := execsafetest.New(t,
		execsafetest.Step{Args: []string{"git", "status"}, Stdout: "clean\n"},
		execsafetest.Step{Args: []string{"git", "push", "..."}, Stdout: "x", Stderr: "rejected\n", ExitCode: 3},
		execsafetest.Step{Args: []string{"gone"}, StartErr: &exec.Error{Name: "gone", Err: exec.ErrNotFound}},
	)
	res, err := s.Run(t.Context(), exec.Command("git", "status"))
	if err != nil || res.Stdout.String() != "clean\n" || res.ExitCode != 0 || res.Reason != execsafe.Exited {
		t.Errorf("%+v, %v", res, err)
	}
	cmd := exec.Command("git", "push", "origin", "main")
	cmd.Stdin, cmd.Dir = strings.NewReader("input"), "/somewhere"
	res, err = s.Run(t.Context(), cmd)
	var e *execsafe.Error
	var ee *exec.ExitError
	if !errors.As(err, &e) || e.Result != res || !errors.As(err, &ee) || ee.ExitCode() != 3 || res.ExitCode != 3 {
		t.Errorf("%+v, %v", res, err)
	}
	if want := "execsafe: git push origin main: exit status 3: rejected"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	res, err = s.Run(t.Context(), exec.Command("gone"))
	if !errors.Is(err, exec.ErrNotFound) || res.Reason != execsafe.StartFailed {
		t.Errorf("%+v, %v", res, err)
	}
	calls := s.Calls()
	if len(calls) != 3 || calls[1].Stdin != "input" || calls[1].Dir != "/somewhere" || calls[1].Args[3] != "main" {
		t.Errorf("%+v", calls)
	}
}

func TestUnexpectedAndUnusedSteps(t *testing.T) {
	t.Parallel()
	fake := new(tb)
	s := execsafetest.New(fake,
		execsafetest.Step{Args: []string{"a"}},
		execsafetest.Step{Args: []string{"b"}, Times: 2},
		execsafetest.Step{Args: []string{"c"}, Times: -1},
		execsafetest.Step{Args: []string{"d", "..."}},
	)
	for _, name := range []string{"a", "b", "d"} {
		if _, err := s.Run(t.Context(), exec.Command("/bin/"+name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Run(t.Context(), exec.Command("/bin/a", "again")); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	if _, err := s.Run(t.Context(), exec.Command("/bin/a")); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	fake.end()
	want := []string{"unexpected command: /bin/a again", "unexpected command: /bin/a", "step 2 (b) was used 1 times, want 2"}
	if len(fake.errors) != len(want) {
		t.Fatalf("%q", fake.errors)
	}
	for i := range want {
		if !strings.HasSuffix(fake.errors[i], want[i]) {
			t.Errorf("%q, want %q", fake.errors[i], want[i])
		}
	}
}

// There is no process, so time can be played too.
func TestTimeStandsStillInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := execsafetest.New(t,
			execsafetest.Step{Args: []string{"slow"}, Stdout: "begin", Delay: time.Hour},
			execsafetest.Step{Args: []string{"deaf"}, Delay: time.Hour, IgnoreTERM: true},
			execsafetest.Step{Args: []string{"quick"}, Delay: time.Second},
			execsafetest.Step{Args: []string{"quiet"}, Stdout: "x", Delay: time.Hour},
			execsafetest.Step{Args: []string{"canceled"}, Delay: time.Hour},
		)
		s.Runner = execsafe.Runner{Timeout: time.Minute, Grace: 5 * time.Second}
		run := func(name string, took time.Duration, want error) *execsafe.Result {
			t.Helper()
			start := time.Now()
			res, err := s.Run(t.Context(), exec.Command(name))
			if !errors.Is(err, want) || (want == nil) != (err == nil) || time.Since(start) != took {
				t.Errorf("%s: after %v, %v: %v", name, time.Since(start), res.Reason, err)
			}
			return res
		}
		if res := run("slow", time.Minute, execsafe.ErrTimeout); res.Stdout.String() != "begin" || res.Signal.String() != "terminated" || res.Escalated {
			t.Errorf("%+v", res)
		}
		if res := run("deaf", time.Minute+5*time.Second, execsafe.ErrTimeout); !res.Escalated || res.Signal.String() != "killed" {
			t.Errorf("%+v", res)
		}
		run("quick", time.Second, nil)
		s.Runner.Idle = 10 * time.Second
		run("quiet", 10*time.Second, execsafe.ErrIdle)
		why := errors.New("why")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		if _, err := s.Run(ctx, exec.Command("canceled")); !errors.Is(err, why) {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour) // the deaf one ends
	})
}

// A Stdin that never ends is no reason for a command not to.
func TestStdinThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := execsafetest.New(t, execsafetest.Step{Args: []string{"sort"}, Stdout: "never"})
		s.Runner = execsafe.Runner{Timeout: time.Minute}
		in, _ := io.Pipe()
		cmd := exec.Command("sort")
		cmd.Stdin = in
		start := time.Now()
		res, err := s.Run(t.Context(), cmd)
		if !errors.Is(err, execsafe.ErrTimeout) || res.Escalated || res.Stdout.Len() > 0 || time.Since(start) != time.Minute {
			t.Errorf("after %v: %+v, %v", time.Since(start), res, err)
		}
	})
}

func TestEveryMethodOfTheRunner(t *testing.T) {
	t.Parallel()
	upper := func(_ context.Context, _ *exec.Cmd, in io.Reader, out, _ io.Writer) int {
		b, err := io.ReadAll(in)
		if err != nil {
			return 1
		}
		out.Write(bytes.ToUpper(b))
		return 0
	}
	var tee bytes.Buffer
	s := execsafetest.New(t,
		execsafetest.Step{Args: []string{"echo"}, Times: -1, Stdout: "a\nb\n", Stderr: "c\n"},
		execsafetest.Step{Args: []string{"upper"}, Times: 2, Func: upper},
		execsafetest.Step{Args: []string{"fails"}, Stderr: "no\n", ExitCode: 9},
		execsafetest.Step{Args: []string{"head"}, Func: func(context.Context, *exec.Cmd, io.Reader, io.Writer, io.Writer) int { return 0 }},
	)
	s.Runner.Stdout = execsafe.Tail(2).Tee(&tee)
	p, err := s.Start(t.Context(), exec.Command("echo"))
	if err != nil || p.Pid() != 0 {
		t.Fatal(err)
	}
	if res, err := p.Wait(); err != nil || res.Stdout.String() != "b\n" || tee.String() != "a\nb\n" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
	var lines []string
	for line, err := range s.Lines(t.Context(), exec.Command("echo")) {
		if err != nil {
			t.Error(err)
		}
		lines = append(lines, line.Source.String()+" "+string(line.Text))
	}
	if len(lines) != 3 {
		t.Errorf("%q", lines)
	}
	s.Runner = execsafe.Runner{}
	res, err := s.Pipe(t.Context(), exec.Command("echo"), exec.Command("upper"), exec.Command("upper"))
	if err != nil || res.Stdout.String() != "A\nB\n" || len(res.Stages) != 3 {
		t.Errorf("%q, %v", res.Stdout, err)
	}
	res, err = s.Pipe(t.Context(), exec.Command("fails"), exec.Command("head"))
	if err == nil || res.ExitCode != 9 || !strings.Contains(err.Error(), "stage 1 of 2: exit status 9: no") {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err := s.Pipe(t.Context(), exec.Command("echo"), exec.Command("echo")); err != nil || res.Stdout.String() != "a\nb\n" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
}

func ExampleScript() {
	branches := func(ctx context.Context, r interface {
		Run(ctx context.Context, cmd *exec.Cmd) (*execsafe.Result, error)
	}) (n int, err error) {
		res, err := r.Run(ctx, exec.Command("git", "ls-remote", "--heads", "origin"))
		for range res.Stdout.Lines() {
			n++
		}
		return n, err
	}

	var t testing.T // the one of your test
	s := execsafetest.New(&t, execsafetest.Step{
		Args:   []string{"git", "ls-remote", "..."},
		Stdout: "1f3a refs/heads/main\n90bc refs/heads/topic\n",
	})
	n, err := branches(context.Background(), s)
	fmt.Println(n, err)
	fmt.Println(s.Calls()[0].Args)
	// Output:
	// 2 <nil>
	// [git ls-remote --heads origin]
}
