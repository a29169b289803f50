// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

const mainEnv = "IDENTD_TEST_MAIN" // set in a child that is to be the program

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		os.Unsetenv(mainEnv)
		main()
		return
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// program returns the program, to be started.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), mainEnv+"=1")
	return cmd
}

// TestProgram asks the program about the very connection that the question comes by,
// after half-closing it: the owner is who runs the test, or as it happened, nobody.
func TestProgram(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("owners are found on Linux only")
	}
	uid := fmt.Sprint(os.Getuid())
	for name, tc := range map[string]struct {
		args, want, log string
		end             os.Signal
	}{
		"fixed":  {"", ` : USERID : (UNIX|OTHER) : [!-~]+\r\n$`, `msg="identd: answer" query="\d+ , \d+" from=\S+ user=\S+`, syscall.SIGTERM},
		"naive":  {"-established-only", ` : ERROR : NO-USER\r\n$`, `err="NO-USER: state is FIN_WAIT\d"`, os.Interrupt},
		"hidden": {"-hide nobody-else," + uid, ` : ERROR : HIDDEN-USER\r\n$`, `err=HIDDEN-USER`, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, append(strings.Fields(tc.args), "-listen", "127.0.0.1:0")...)
			logs, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			log := bufio.NewReader(logs)
			line, _ := log.ReadString('\n')
			found := regexp.MustCompile(`msg="identd: listening" addr=(\S+)`).FindStringSubmatch(line)
			if found == nil {
				t.Fatalf("first line %q names no address", line)
			}
			addr := netip.MustParseAddrPort(found[1])

			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprintf(conn, "%d , %d", conn.LocalAddr().(*net.TCPAddr).Port, addr.Port())
			conn.(*net.TCPConn).CloseWrite()
			reply, err := io.ReadAll(conn)
			if err != nil || !regexp.MustCompile(tc.want).Match(reply) {
				t.Errorf("reply %q, %v, want %s", reply, err, tc.want)
			}

			idle, err := net.Dial("tcp", addr.String()) // which is no reason to stay
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			cmd.Process.Signal(tc.end)
			rest, _ := io.ReadAll(log)
			if err := cmd.Wait(); err != nil {
				t.Errorf("after %v: %v", tc.end, err)
			}
			if !regexp.MustCompile(tc.log).Match(rest) {
				t.Errorf("log %q, want %s", rest, tc.log)
			}
		})
	}
}

// TestStory also shows that the program plays the roles of its story.
func TestStory(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("owners are found on Linux only")
	}
	out, err := program(t, "-story").Output()
	if err != nil || !bytes.Contains(out, []byte("\n2 steps, 2 as told")) {
		t.Errorf("%v, %q", err, out)
	}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"unknown flag":    {[]string{"-nosuchflag"}, 2, "not defined: -nosuchflag"},
		"argument":        {[]string{"extra"}, 2, `identd: unexpected argument "extra"`},
		"no time":         {[]string{"-idle", "0"}, 2, "identd: -idle 0s, -conns 64: both have to be positive"},
		"no connections":  {[]string{"-conns", "-1"}, 2, "identd: -idle 1m0s, -conns -1: both"},
		"no such address": {[]string{"-listen", "no address"}, 1, "identd: listen tcp: address no address"},
		"help":            {[]string{"-h"}, 0, "Usage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, tc.args...)
			said, err := cmd.CombinedOutput()
			if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != tc.code || !bytes.Contains(said, []byte(tc.says)) {
				t.Errorf("status %d, %q, want %d and %q", code, said, tc.code, tc.says)
			}
		})
	}
}
