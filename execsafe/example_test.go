// SPDX-License-Identifier: MIT

//go:build unix

package execsafe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/seed-b08dbae9/sysprim/execsafe"
)

func Example() {
	cmd := exec.Command("sh", "-c", "seq 20000; echo done >&2") // more than a pipe holds
	res, err := execsafe.Run(context.Background(), cmd)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Stdout.Len(), "bytes, exit status", res.ExitCode)
	fmt.Print(res.Stderr)
	// Output:
	// 108894 bytes, exit status 0
	// done
}

func ExampleRun() {
	_, err := execsafe.Run(context.Background(), exec.Command("sh", "-c", "echo no such branch >&2; exit 2"))
	fmt.Println(err)
	var exit *exec.ExitError
	fmt.Println(errors.As(err, &exit), exit.ExitCode())
	// Output:
	// execsafe: sh -c "echo no such branch >&2; exit 2": exit status 2: no such branch
	// true 2
}

func ExampleRunner() {
	r := execsafe.Runner{
		Timeout: time.Second,
		Grace:   time.Second,
		Stdout:  execsafe.Tail(4 << 10),
		Redact:  []string{"hunter2"},
	}
	res, err := r.Run(context.Background(), exec.Command("sh", "-c", "echo working; sleep 60; true", "hunter2"))
	fmt.Print(res.Stdout)
	fmt.Println(errors.Is(err, execsafe.ErrTimeout), res.Reason, res.Args[3])
	// Output:
	// working
	// true timed out [redacted]
}

func ExampleRunner_Run() {
	r := execsafe.Runner{ExitOK: []int{1}} // grep's way to say: none
	cmd := exec.Command("grep", "-c", "x")
	cmd.Stdin = strings.NewReader("a\nb\n")
	res, err := r.Run(context.Background(), cmd)
	fmt.Printf("%s%d %v\n", res.Stdout, res.ExitCode, err)
	// Output:
	// 0
	// 1 <nil>
}

func ExampleStart() {
	p, err := execsafe.Start(context.Background(), exec.Command("sh", "-c", "echo ready; sleep 60"))
	if err != nil {
		fmt.Println(err)
		return
	}
	p.Stop()
	res, err := p.Wait()
	fmt.Println(res.Reason, errors.Is(err, execsafe.ErrStopped))
	// Output: canceled true
}

func ExampleProcess() {
	p, err := execsafe.Start(context.Background(), exec.Command("sh", "-c", "kill -STOP $$; exit 3"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for running := true; running; {
		select {
		case <-p.Done():
			running = false
		case <-time.After(10 * time.Millisecond):
			p.Signal(syscall.SIGCONT)
		}
	}
	res, _ := p.Wait()
	fmt.Println(res.ExitCode, p.Pid() > 0)
	// Output: 3 true
}

func ExampleLines() {
	for line, err := range execsafe.Lines(context.Background(), exec.Command("sh", "-c", "echo one; echo two; exit 1")) {
		if err != nil {
			fmt.Println("failed:", err.(*execsafe.Error).Result.ExitCode)
			break
		}
		fmt.Printf("%v: %s\n", line.Source, line.Text)
	}
	// Output:
	// stdout: one
	// stdout: two
	// failed: 1
}

func ExamplePipe() {
	res, err := execsafe.Pipe(context.Background(),
		exec.Command("yes"), // dies of SIGPIPE, as it should
		exec.Command("head", "-3"),
		exec.Command("wc", "-l"),
	)
	fmt.Println(strings.TrimSpace(res.Stdout.String()), len(res.Stages), err)
	_, err = execsafe.Pipe(context.Background(), exec.Command("sh", "-c", "exit 4"), exec.Command("cat"))
	fmt.Println(err)
	// Output:
	// 3 3 <nil>
	// execsafe: sh -c "exit 4": stage 1 of 2: exit status 4
}

func ExampleCapture_Tee() {
	var log bytes.Buffer
	r := execsafe.Runner{Stdout: execsafe.Head(3).Tee(&log)}
	res, err := r.Run(context.Background(), exec.Command("echo", "abcdef"))
	fmt.Println(res.Stdout, res.Stdout.Omitted(), log.Len(), err)
	// Output: abc 4 7 <nil>
}

func ExampleHeadTail() {
	r := execsafe.Runner{Stdout: execsafe.HeadTail(2, 3)}
	res, _ := r.Run(context.Background(), exec.Command("echo", "0123456789"))
	out, gap := res.Stdout.String(), res.Stdout.Gap()
	fmt.Printf("%s … %d bytes … %s", out[:gap], res.Stdout.Omitted(), out[gap:])
	// Output: 01 … 6 bytes … 89
}

func ExampleAll() {
	r := execsafe.Runner{Stdout: execsafe.All(1000)}
	res, err := r.Run(context.Background(), exec.Command("yes"))
	fmt.Println(res.Stdout.Len(), res.Reason, errors.Is(err, execsafe.ErrOutputLimit))
	// Output: 1000 output limited true
}

func ExampleSpill() {
	r := execsafe.Runner{Stdout: execsafe.Spill(os.TempDir(), 1000, 1<<30)} // 1,000 bytes in memory
	res, err := r.Run(context.Background(), exec.Command("seq", "20000"))
	if err != nil {
		fmt.Println(err)
	}
	defer res.Stdout.Close()
	n, _ := io.Copy(io.Discard, res.Stdout.Reader())
	fmt.Println(n, err)
	// Output: 108894 <nil>
}

func ExampleOutput_Lines() {
	res, _ := execsafe.Run(context.Background(), exec.Command("printf", "a\\r\\nb"))
	for line := range res.Stdout.Lines() {
		fmt.Printf("%q\n", line)
	}
	// Output:
	// "a"
	// "b"
}

func ExampleRunner_Pipe() {
	r := execsafe.Runner{Stdout: execsafe.Tail(100)}
	res, err := r.Pipe(context.Background(), exec.Command("seq", "5"), exec.Command("tail", "-1"))
	fmt.Printf("%s%v\n", res.Stdout, err)
	// Output:
	// 5
	// <nil>
}

func ExampleRunner_Lines() {
	r := execsafe.Runner{MaxLine: 4}
	for line := range r.Lines(context.Background(), exec.Command("echo", "0123456789")) {
		fmt.Printf("%s %t\n", line.Text, line.Partial)
	}
	// Output:
	// 0123 true
	// 4567 true
	// 89 false
}

func ExampleRunner_Start() {
	r := execsafe.Runner{OnEvent: func(e execsafe.Event) {
		if e.Kind != execsafe.EventOutput {
			fmt.Println(e.Kind)
		}
	}}
	p, err := r.Start(context.Background(), exec.Command("true"))
	if err == nil {
		_, err = p.Wait()
	}
	fmt.Println(err)
	// Output:
	// started
	// exited
	// <nil>
}
