// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func init() {
	helpers["writefile"] = func(args []string) {
		if err := WriteFile(args[0], []byte(args[1]), 0o644); err != nil {
			fatal(err)
		}
	}
}

// TestKillAtEachSystemCall kills a process at each system call of WriteFile, for
// real, by strace's fault injection. There must be the old file or the new one, and
// the next writer must remove what the dead one left.
func TestKillAtEachSystemCall(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace")
	}
	if testing.Short() {
		t.Skip("starts some 50 processes")
	}
	eachFS(t, func(t *testing.T, dir string) {
		killed, littered, wrote := 0, 0, 0
		for _, call := range []string{"openat", "write", "fsync", "renameat,renameat2,rename", "close", "mkdirat,mkdir", "getdents64", "newfstatat"} {
			for n := 1; ; n++ {
				base := filepath.Join(dir, strings.ReplaceAll(call, ",", "-"), fmt.Sprint(n))
				name := filepath.Join(base, "a/f")
				old := call != "mkdirat,mkdir"
				if old {
					if err := WriteFile(name, []byte("old"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				cmd := helper(t, "writefile", name, "new")
				cmd.Args = append([]string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call,
					"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), cmd.Path}, cmd.Args[1:]...)
				cmd.Path = strace
				err := cmd.Run()
				if n == 1 && err != nil && cmd.ProcessState.ExitCode() == 1 {
					t.Skip("strace may not trace here: ", err)
				}
				b, readErr := os.ReadFile(name)
				got := string(b)
				if got != "new" && !(old && got == "old") && !(!old && errors.Is(readErr, os.ErrNotExist)) {
					t.Fatalf("killed at %s %d: found %q, %v", call, n, got, readErr)
				}
				dead := false
				if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && (status.Signaled() || status.ExitStatus() == 137) {
					dead = true
					killed++
				}
				if got == "new" {
					wrote++
				}
				if left, _ := os.ReadDir(filepath.Dir(name)); len(left) > 1 || !old && len(left) > 0 && got != "new" {
					littered++
				}
				// Another process than ours, so that it is its first write there.
				if out, err := helper(t, "writefile", name, "next").Output(); err != nil {
					t.Fatal(err, out)
				}
				if left := list(t, filepath.Dir(name)); len(left) != 1 || left[0] != "f" {
					t.Fatalf("killed at %s %d: the next writer left %q", call, n, left)
				}
				if !dead || n > 60 {
					break
				}
			}
		}
		t.Logf("killed %d times; %d times the new file was there, %d times there was litter", killed, wrote, littered)
		if killed == 0 || wrote == 0 || littered == 0 {
			t.Error("the kills did not hit what they were meant to")
		}
	})
}
