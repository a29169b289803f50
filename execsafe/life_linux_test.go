// SPDX-License-Identifier: MIT

package execsafe

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// -runs sets how many runs in a row the leak test makes; its long form is 10000.
var runs = flag.Int("runs", 300, "runs in a row of TestRunsInARowLeaveNothing")

func openFDs(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(names)
}

func zombies(testing.TB) (n int) {
	kids, _ := filepath.Glob("/proc/self/task/*/children")
	for _, name := range kids {
		b, _ := os.ReadFile(name)
		for pid := range strings.FieldsSeq(string(b)) {
			if p, err := strconv.Atoi(pid); err == nil && !alive(p) {
				n++
			}
		}
	}
	return n
}

// G48, and G26 for the starts that fail. Not parallel: it counts what is open.
func TestRunsInARowLeaveNothing(t *testing.T) {
	n := *runs
	if testing.Short() {
		n = 50
	}
	once := func() {
		cmd := exec.Command("/bin/true")
		cmd.Stdin = strings.NewReader("x")
		mustRun(t, Runner{Timeout: time.Minute}, cmd)
		bad := exec.Command("/nowhere/at/all")
		bad.Stdin = strings.NewReader("x")
		if _, err := Run(t.Context(), bad); err == nil {
			t.Fatal("it ran")
		}
	}
	once()
	threads := pprof.Lookup("threadcreate").Count()
	time.Sleep(50 * time.Millisecond) // for the goroutines of the first to end
	fds, goroutines := openFDs(t), runtime.NumGoroutine()
	for range n {
		once()
	}
	eventually(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if now := openFDs(t); now > fds {
		t.Errorf("%d descriptors, %d before", now, fds)
	}
	if z := zombies(t); z > 0 {
		t.Errorf("%d zombies", z)
	}
	if now := pprof.Lookup("threadcreate").Count(); now > threads+10 {
		t.Errorf("%d threads, %d before", now, threads)
	}
}

// G46: os/exec holds a thread for each child that it waits for. In a process of
// its own, whose threads are all ours.
func TestConcurrentRunsShareFewThreads(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 100
	}
	cmd := do(t, "threads:"+strconv.Itoa(n))
	res, err := Run(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	got, err := strconv.Atoi(res.Stdout.String())
	if err != nil || got > 32 {
		t.Errorf("%d concurrent runs used %s threads: %v", n, res.Stdout, err)
	}
	t.Logf("%d concurrent runs: %d threads", n, got)
}

// threadsOf runs n sleeping children at once and returns the threads of this process.
func threadsOf(n int) int {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var started sync.WaitGroup
	for range n {
		started.Add(1)
		wg.Go(func() {
			p, err := Start(ctx, exec.Command("sleep", "60"))
			started.Done()
			if err == nil {
				p.Wait()
			}
		})
	}
	started.Wait()
	time.Sleep(100 * time.Millisecond)
	tasks, _ := os.ReadDir("/proc/self/task")
	cancel()
	wg.Wait()
	return len(tasks)
}

// A silent run holds no buffer.
func TestSilentRunsHoldNoBuffers(t *testing.T) {
	var p [20]*Process
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range p {
		var err error
		if p[i], err = Start(t.Context(), exec.Command("sleep", "60")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the runs to be silent, and without buffers", func() bool {
		runtime.GC()
		runtime.ReadMemStats(&after)
		return int64(after.HeapAlloc)-int64(before.HeapAlloc) <= int64(len(p))*chunkSize
	})
	for _, p := range p {
		p.Stop()
	}
}

// G43: somebody else reaps. What was written is still there, and nothing hangs.
func TestExitStatusTakenBySomebodyElse(t *testing.T) {
	t.Parallel()
	for _, kernel := range kernels {
		stolen := false
		for range 20 { // who is first is up to the kernel
			p, err := Runner{sys: kernel.sys()}.Start(t.Context(), do(t, "out:hello", "sleep:20ms", "exit:3"))
			if err != nil {
				t.Fatal(err)
			}
			var ws unix.WaitStatus
			_, werr := unix.Wait4(p.Pid(), &ws, 0, nil)
			within(t, 0, func() {
				res, err := p.Wait()
				if res.Stdout.String() != "hello" {
					t.Errorf("%s: %q", kernel.name, res.Stdout)
				}
				if werr == nil && (!errors.Is(err, ErrNoStatus) || !errors.Is(err, unix.ECHILD) || res.ExitCode != -1) {
					t.Errorf("%s: %+v, %v", kernel.name, res, err)
				}
			})
			_ = p.user.Process.WithHandle(func(uintptr) { t.Errorf("%s: os.Process keeps its pidfd", kernel.name) })
			if stolen = werr == nil; stolen {
				break
			}
		}
		if !stolen {
			t.Errorf("%s: the status could not be taken", kernel.name)
		}
	}
}

// G43, for a whole process: nobody is left to be waited for.
func TestIgnoredSIGCHLD(t *testing.T) {
	t.Parallel()
	res, err := Run(t.Context(), do(t, "ignorechld"))
	if err != nil || res.Stdout.String() != "ok" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
}

func runWithoutSIGCHLD() string {
	// signal.Ignore would not do: the runtime keeps a handler for SIGCHLD.
	sa := struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}{handler: 1} // SIG_IGN
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(ptr(&sa)), 0, 8, 0, 0); errno != 0 {
		return errno.Error()
	}
	res, err := Run(context.Background(), exec.Command("sh", "-c", "echo hello; exit 3"))
	if !errors.Is(err, ErrNoStatus) || res.Stdout.String() != "hello\n" {
		return "unexpected: " + err.Error()
	}
	return "ok"
}

// G44: the thread that starts a child may end without the child.
func TestChildOutlivesTheThreadThatStartedIt(t *testing.T) {
	t.Parallel()
	for _, die := range []bool{false, true} {
		var p *Process
		var err error
		started := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			p, err = Runner{DieWithParent: die}.Start(t.Context(), do(t, "sleep:300ms", "out:alive"))
			close(started)
		}()
		<-started
		if err != nil {
			t.Fatal(err)
		}
		if res, err := p.Wait(); err != nil || res.Stdout.String() != "alive" {
			t.Errorf("DieWithParent %t: %q, %v", die, res.Stdout, err)
		}
	}
}

func TestDieWithParent(t *testing.T) {
	t.Parallel()
	p, err := Runner{Leftovers: LeaveLeftovers}.Start(t.Context(), do(t, "dieparent"))
	if err != nil {
		t.Fatal(err)
	}
	res, _ := p.Wait() // it has killed itself
	left := pids(res.Stdout.String())
	if len(left) != 1 || res.Signal != syscall.SIGKILL {
		t.Fatalf("%+v", res)
	}
	eventually(t, "the child to die with its parent", func() bool { return !alive(left[0]) })
}

// kernels are those whose missing parts have a replacement.
var kernels = []struct {
	name string
	sys  func() *system
}{
	{"6.9", func() *system { return &realSystem }},
	{"5.4", func() *system { s := realSystem; s.noPidfdGroup = true; return &s }},
	{"4.0", func() *system { s := realSystem; s.noPidfd = true; return &s }},
}

// G12, G19, G20: the group is found and signalled after its leader is gone, on each
// kind of kernel, and never by a number that may have been given away.
func TestTreesDieOnEveryKernel(t *testing.T) {
	t.Parallel()
	for _, kernel := range kernels {
		t.Run(kernel.name, func(t *testing.T) {
			t.Parallel()
			r := Runner{sys: kernel.sys()}
			res, err := r.Run(t.Context(), do(t, "forkquiet:ignore+sleep:1m", "forkquiet:sleep:1m", "out:x"))
			if err != nil || res.Swept != 2 {
				t.Errorf("leftovers: %+v, %v", res, err)
			}
			gone(t, res)
			r.Grace = 100 * time.Millisecond
			res, err = untilReady(t, r, "ignore", "fork:ignore+out:ready+sleep:1m", "sleep:1m")
			if !errors.Is(err, ErrTimeout) || !res.Escalated || res.Signal != syscall.SIGKILL {
				t.Errorf("timeout: %+v, %v", res, err)
			}
			gone(t, res)
			res, err = r.Run(t.Context(), do(t, "fork:ignore+sleep:1m"))
			if !errors.Is(err, ErrPipeHeld) || res.Swept != 1 {
				t.Errorf("holder: %+v, %v", res, err)
			}
			gone(t, res)
		})
	}
}

// G19: no signal goes to a number whose owner has been reaped.
func TestNoSignalAfterTheReap(t *testing.T) {
	t.Parallel()
	for _, kernel := range kernels {
		p, err := Runner{sys: kernel.sys()}.Start(t.Context(), exec.Command("true"))
		if err != nil {
			t.Fatal(err)
		}
		p.Wait()
		for _, sig := range []syscall.Signal{0, syscall.SIGTERM} {
			if err := p.child.kill(sig); err != os.ErrProcessDone {
				t.Errorf("%s: kill(%d) = %v", kernel.name, sig, err)
			}
		}
	}
}

// G20: a zombie that nobody reaps is in the group for ever, and no reason to wait.
func TestZombiesAreNotAlive(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		state byte
		pgid  int
	}{
		"12 (sleep) S 1 34 34 0 -1":              {'S', 34},
		"12 (a) b) Z 1 (x) R 9 7) Z 1 34 34 0":   {'Z', 34},
		"12 (new\nline) R 1 -5 0":                {'R', -5},
		"":                                       {0, 0},
		"12 (sleep":                              {0, 0},
		"12 (sleep) S 1 notanumber 34":           {0, 0},
		"12 (two words) X 1 0 0 0 -1 4194624 93": {'X', 0},
	} {
		if state, pgid := parseStat([]byte(line)); state != want.state || pgid != want.pgid {
			t.Errorf("%q: %c, %d", line, state, pgid)
		}
	}
	// A zombie in a living group: this process does not wait for it until the end.
	zombie := exec.Command("true")
	zombie.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	eventually(t, "a zombie", func() bool { return !alive(zombie.Process.Pid) })
	member := exec.Command("true")
	member.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: zombie.Process.Pid}
	if err := member.Start(); err != nil {
		t.Fatal(err)
	}
	defer member.Wait()
	eventually(t, "the group to count as empty", func() bool { return countGroup(zombie.Process.Pid) == 0 })
	if err := syscall.Kill(-zombie.Process.Pid, 0); err != nil {
		t.Errorf("signal 0 does tell: %v", err)
	}
}

// G27, for real, in a process with few descriptors.
func TestStartWithoutDescriptors(t *testing.T) {
	t.Parallel()
	res, err := Run(t.Context(), do(t, "nofiles"))
	if err != nil || res.Stdout.String() != "ok" {
		t.Errorf("%q %q, %v", res.Stdout, res.Stderr, err)
	}
}

func runWithoutDescriptors() string {
	if _, err := Run(context.Background(), exec.Command("/bin/true")); err != nil { // the runtime opens its own now
		return err.Error()
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err.Error()
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err.Error()
	}
	mustFail, ran := 0, 0
	for spare := range uint64(14) {
		limit := unix.Rlimit{Cur: uint64(len(open)) + spare, Max: before.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err.Error()
		}
		cmd := exec.Command("/bin/true")
		cmd.Stdin = strings.NewReader("x")
		_, err := Run(context.Background(), cmd)
		if err == nil {
			ran++
		} else if errors.Is(err, unix.EMFILE) {
			mustFail++
		} else {
			return "spare " + strconv.FormatUint(spare, 10) + ": " + err.Error()
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err.Error()
	}
	now, err := os.ReadDir("/proc/self/fd")
	for range 1000 { // what goroutines of the last Run have yet to close
		if err != nil || len(now) <= len(open) {
			break
		}
		time.Sleep(5 * time.Millisecond)
		now, err = os.ReadDir("/proc/self/fd")
	}
	if err != nil {
		return err.Error()
	}
	if mustFail == 0 || ran == 0 || len(now) > len(open) {
		return strings.Join([]string{"failed", strconv.Itoa(mustFail), "ran", strconv.Itoa(ran), "open", strconv.Itoa(len(open)), strconv.Itoa(len(now))}, " ")
	}
	return "ok"
}

// A disk that is full, for real: a small tmpfs in a mount namespace would need a
// privilege, /dev/full has no directory; the limit on file sizes needs neither.
func TestSpillBeyondTheFileSizeLimit(t *testing.T) {
	t.Parallel()
	res, err := Run(t.Context(), do(t, "spilllimit:"+t.TempDir()))
	if err != nil || res.Stdout.String() != "ok" {
		t.Errorf("%q %q, %v", res.Stdout, res.Stderr, err)
	}
}

func runWithFileSizeLimit(dir string) string {
	signal.Ignore(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100_000, Max: 100_000}); err != nil {
		return err.Error()
	}
	r := Runner{Stdout: Spill(dir, 1000, 1<<30)}
	res, err := r.Run(context.Background(), exec.Command("yes"))
	if !errors.Is(err, unix.EFBIG) || !errors.Is(err, ErrWriter) || res.Reason != WriterFailed {
		return "error: " + err.Error()
	}
	if got := res.Stdout.String(); got != strings.Repeat("y\n", 101_000/2) {
		return "kept " + strconv.Itoa(len(got))
	}
	return "ok"
}
