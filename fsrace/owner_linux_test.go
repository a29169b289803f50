// SPDX-License-Identifier: MIT

package fsrace

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func init() {
	helpers["liveness"] = func(args []string) {
		o, err := ParseOwner(args[0])
		if err != nil {
			fatal(err)
		}
		fmt.Print(o.Liveness())
	}
}

// G35: in a time namespace the kernel tells other start times, which prove no death.
func TestLivenessFromAnotherTimeNamespace(t *testing.T) {
	t.Parallel()
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("no unshare")
	}
	cmd := helper(t, "liveness", Self("").String())
	cmd.Args = append([]string{"unshare", "--time", "--boottime", "100000", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = unshare
	out, err := cmd.Output()
	if err != nil {
		t.Skip("no time namespaces here: ", err)
	}
	if string(out) != "unknown" {
		t.Errorf("this process, seen from there, is %s", out)
	}
}

func TestLivenessOfRealProcesses(t *testing.T) {
	t.Parallel()
	child := helper(t, "sleep")
	stdin, _ := child.StdinPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	o := Self("")
	o.PID = child.Process.Pid
	o.Start = look(o.PID).start
	if got := o.Liveness(); got != Alive {
		t.Errorf("a running child is %v", got)
	}
	child.Process.Signal(syscall.SIGSTOP)
	if got := o.Liveness(); got != Alive {
		t.Errorf("a stopped child is %v", got)
	}
	child.Process.Signal(syscall.SIGCONT)
	stdin.Close()
	for end := time.Now().Add(20 * time.Second); o.Liveness() == Alive && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // until it is a zombie
	}
	if got := o.Liveness(); got != Dead {
		t.Errorf("a zombie child is %v", got)
	}
	child.Wait()
	if got := o.Liveness(); got != Dead {
		t.Errorf("a reaped child is %v", got)
	}
	init := Self("")
	init.PID = 1
	if got := init.Liveness(); os.Getpid() != 1 && got == Alive {
		t.Errorf("process 1 is taken for this one")
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const tail = " 1 1 0 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0"
	for stat, want := range map[string]sighting{
		"7 (a) S" + tail:        {start: 12345},
		"7 (a) b) (c) S" + tail: {start: 12345},
		"7 (a) Z" + tail:        {start: 12345, exited: true},
		"7 (a) Z 1 1 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 12345 0": {start: 12345},
		"":        {},
		"7 (a) S": {},
		"7 (a) S 1 1 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 x 0": {},
	} {
		if got := parseStat([]byte(stat)); got != want {
			t.Errorf("parseStat(%q) = %+v, want %+v", stat, got, want)
		}
	}
}
