// SPDX-License-Identifier: MIT

//go:build unix

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

func init() {
	roles["act"] = actRole
	if os.Getenv(roleEnv) == "act" {
		runtime.LockOSThread() // strace counts the calls of each thread apart
	}
}

// reexec is this binary in a role.
func reexec(t testing.TB, role string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	return cmd
}

func suicide() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

const begin, end = "/spool-test-begins", "/spool-test-ends" // show in strace where an act is

// actRole does an act in a directory, and kills itself at its nth call, before or
// after it, or after the act if n is "end"; if n is "never" it exits.
func actRole(args []string) error {
	dir, name, n, after := args[0], args[1], args[2], args[3] == "after"
	killAt, err := strconv.Atoi(n)
	if err != nil {
		killAt = -1
	}
	count, armed := 0, false
	s, err := open(dir, Config{}, systest.Wrap(sys.OS{}, func(_ systest.Call, do func() error) error {
		if !armed {
			return do()
		}
		count++
		if count-1 != killAt {
			return do()
		}
		if after {
			do()
		}
		suicide()
		return nil
	}))
	if err != nil {
		return err
	}
	act, c := acts[name], (*Claim)(nil)
	if act.claimed {
		if c, err = s.TryClaim(); err != nil {
			return err
		}
	}
	if n == "never" {
		s.through(sys.OS{})
	}
	armed = true
	os.Lstat(begin)
	if name == "reclaim" {
		_, err = s.Reclaim() // with real proof of death
	} else {
		err = act.do(s, nil, c)
	}
	os.Lstat(end)
	if err != nil {
		return err
	}
	if n == "end" {
		suicide()
	}
	return nil
}

// realStage is a spool in a real directory with job j waiting, or held by a process
// that was killed.
func realStage(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(shm(t), "spool")
	s, err := Open(dir, Config{})
	must(t, err)
	put(t, s, "j")
	must(t, s.Close())
	if name == "reclaim" {
		if err := reexec(t, "act", dir, "claim", "end", "after").Run(); !killed(err) {
			t.Fatalf("the claimer was not killed: %v", err)
		}
	}
	return dir
}

func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	// strace ends as its child did, or says so by its exit status.
	return ok && (status.Signaled() && status.Signal() == syscall.SIGKILL || status.ExitStatus() == 128+int(syscall.SIGKILL))
}

// checkReal demands that each job is in one place now, and done once the dead have
// been cleared up after.
func checkReal(t *testing.T, dir, name string) error {
	t.Helper()
	s, err := Open(dir, Config{})
	if err != nil {
		return err
	}
	defer s.Close()
	places := map[string]int{}
	for _, part := range []string{newPart, claimedPart, donePart, failedPart} {
		names, err := s.list(part)
		if err != nil {
			return err
		}
		for _, base := range names {
			job, ok := parseFile(base)
			if !ok && !strings.HasSuffix(base, reasonSuffix) {
				return fmt.Errorf("stray %s in %s", base, part)
			}
			if ok {
				places[job.name]++
			}
		}
	}
	if places["j"] != 1 || places["k"] > 1 || len(places) > 1 && name != "put" {
		return fmt.Errorf("places: %v", places)
	}
	if runtime.GOOS != "linux" {
		return nil // no proof of death
	}
	if _, err := s.Reclaim(); err != nil {
		return err
	}
	jobs := len(places)
	for {
		c, err := s.TryClaim()
		if err == ErrEmpty {
			break
		}
		if err != nil {
			return err
		}
		if got := content(t, c); got != "content of "+c.Name() {
			return fmt.Errorf("%s holds %q", c.Name(), got)
		}
		if err := c.Done(); err != nil {
			return err
		}
	}
	ended := 0
	entries, err := s.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.State == Done || e.State == Failed && e.Reason == "why" {
			ended++
		}
	}
	if litter := files(t, s, tmpPart); ended != jobs || litter > 0 || files(t, s, workersPart) != 1 {
		return fmt.Errorf("%d of %d jobs done, %d files in tmp: %+v", ended, jobs, litter, entries)
	}
	return nil
}

// TestKillAtEachCall sends SIGKILL to a real process before and after each call of
// the seam. G33
func TestKillAtEachCall(t *testing.T) {
	t.Parallel()
	for name := range acts {
		if name == "evict" || testing.Short() && name != "claim" && name != "put" {
			continue
		}
		for _, when := range []string{"before", "after"} {
			t.Run(name+"/"+when, func(t *testing.T) {
				t.Parallel()
				for n := 0; ; n++ {
					dir := realStage(t, name)
					var stderr bytes.Buffer
					cmd := reexec(t, "act", dir, name, strconv.Itoa(n), when)
					cmd.Stderr = &stderr
					err := cmd.Run()
					if err != nil && !killed(err) {
						t.Fatalf("call %d: %v\n%s", n, err, &stderr)
					}
					if err := checkReal(t, dir, name); err != nil {
						t.Errorf("killed %s call %d: %v", when, n, err)
					}
					if err == nil {
						t.Logf("%d calls", n)
						return
					}
				}
			})
		}
	}
}

var straceLine = regexp.MustCompile(`^(?:\d+\s+)?([a-z0-9_]+)\(`)

// TestKillAtEachSystemCall has strace(1) do the same at each system call the kernel
// sees from the act's thread.
func TestKillAtEachSystemCall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("short")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	run := func(t *testing.T, dir, name string, options ...string) error {
		args := append(options, "-f", "-qq", "-E", roleEnv+"=act", os.Args[0], dir, name, "never", "after")
		return exec.Command(strace, args...).Run()
	}
	for _, name := range []string{"put", "claim", "done", "reclaim"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "strace")
			if err := run(t, realStage(t, name), name, "-o", log); err != nil {
				t.Skipf("strace cannot trace here: %v", err)
			}
			data, err := os.ReadFile(log)
			must(t, err)
			lines := strings.Split(string(data), "\n")
			main, _, _ := strings.Cut(lines[0], " ")
			var inside bool
			counts := map[string]int{} // by the main thread, from its start
			type point struct {
				syscall string
				when    int
			}
			var points []point
			for _, line := range lines {
				if !strings.HasPrefix(line, main+" ") {
					continue
				}
				m := straceLine.FindStringSubmatch(line)
				if m == nil {
					continue
				}
				counts[m[1]]++
				switch {
				case strings.Contains(line, begin):
					inside = true
				case strings.Contains(line, end):
					inside = false
				case inside:
					points = append(points, point{m[1], counts[m[1]]})
				}
			}
			if len(points) == 0 {
				t.Fatal("the act made no system call")
			}
			hits := 0
			for _, p := range points {
				if p.syscall == "futex" || strings.HasPrefix(p.syscall, "rt_") {
					continue // the Go runtime's own, not at the same place each time
				}
				dir := realStage(t, name)
				err := run(t, dir, name, "-o", os.DevNull, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", p.syscall, p.when))
				if killed(err) {
					hits++
				}
				if err := checkReal(t, dir, name); err != nil {
					t.Errorf("killed at %s #%d: %v", p.syscall, p.when, err)
				}
			}
			if hits == 0 {
				t.Errorf("no kill of %d hit", len(points))
			}
			t.Logf("killed at %d of %d system calls: %v", hits, len(points), points)
		})
	}
}
