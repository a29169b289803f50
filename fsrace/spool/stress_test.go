// SPDX-License-Identifier: MIT

//go:build unix

package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

func init() {
	roles["stress"] = stressRole
	roles["zombie"] = zombieRole
}

// stressRole works off the spool with so many goroutines until its input ends. Each
// claim leaves a mark that two holders of the same claim could not both make.
func stressRole(args []string) error {
	dir, marks := args[0], args[1]
	goroutines, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	s, err := Open(dir, Config{MaxAttempts: -1, Rescan: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	fmt.Println("up")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	failed := make(chan error, goroutines)
	for range goroutines {
		go func() {
			for {
				c, err := s.Claim(ctx)
				if err != nil {
					if errors.Is(err, context.Canceled) {
						err = nil
					}
					failed <- err
					return
				}
				mark := filepath.Join(marks, fmt.Sprintf("%s.%d", c.ID(), c.Generation()))
				f, err := os.OpenFile(mark, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
				if err == nil {
					f.Close()
					switch rand.IntN(20) {
					case 0:
						err = c.Release()
					case 1:
						err = c.Retry("again")
					default:
						err = c.Done()
					}
				}
				if err != nil {
					failed <- fmt.Errorf("%s: %w", mark, err)
					return
				}
			}
		}()
	}
	var first error
	for range goroutines {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
	}
	fmt.Printf("raced %d\n", s.jobs.races)
	return errors.Join(first, s.Close())
}

// TestEachJobOnce: 64 racers in 8 processes, which are killed at random and started
// again, do each job once. SPOOL_STRESS=100000 is the long form.
func TestEachJobOnce(t *testing.T) { // G25, G33, G44
	t.Parallel()
	jobs, err := strconv.Atoi(os.Getenv("SPOOL_STRESS"))
	if err != nil {
		jobs = 10_000
	}
	if testing.Short() {
		jobs = 1_000
	}
	if runtime.GOOS != "linux" {
		t.Skip("no proof of death on this platform")
	}
	base := shm(t)
	dir, marks := filepath.Join(base, "spool"), filepath.Join(base, "marks")
	must(t, os.Mkdir(marks, 0o755))
	s := start(t, dir, Config{})
	fill(t, s, jobs)

	const processes, goroutines = 8, 8
	var kills, raced int
	var mu sync.Mutex
	var wg sync.WaitGroup
	finished := make(chan struct{})
	for range processes {
		wg.Go(func() {
			for {
				cmd := reexec(t, "stress", dir, marks, strconv.Itoa(goroutines))
				cmd.Stderr = os.Stderr
				stdin, err := cmd.StdinPipe()
				if err == nil {
					var stdout io.ReadCloser
					if stdout, err = cmd.StdoutPipe(); err == nil {
						err = cmd.Start()
					}
					if err == nil {
						up, ended := make(chan struct{}), make(chan struct{})
						var n int
						go func() {
							defer close(ended)
							r := bufio.NewReader(stdout)
							fmt.Fscanln(r, new(string))
							close(up)
							fmt.Fscanf(r, "raced %d\n", &n)
						}()
						// One in four may die before it is up, and all live longer by and
						// by: on a slow machine the jobs must be done some day, too.
						if rand.IntN(4) > 0 {
							<-up
						}
						mu.Lock()
						life := 20*time.Millisecond + time.Duration(1+kills/50)*rand.N(200*time.Millisecond)
						mu.Unlock()
						doom := time.NewTimer(life)
						select {
						case <-finished:
							stdin.Close()
						case <-doom.C:
							cmd.Process.Kill()
						case <-ended:
						}
						doom.Stop()
						<-ended
						err = cmd.Wait()
						mu.Lock()
						raced += n
						if killed(err) {
							kills++
							err = nil
						}
						mu.Unlock()
					}
				}
				if err != nil {
					t.Errorf("worker: %v", err)
					return
				}
				select {
				case <-finished:
					return
				default:
				}
			}
		})
	}
	tick := time.NewTicker(50 * time.Millisecond)
	for began := time.Now(); files(t, s, donePart) < jobs; <-tick.C {
		if t.Failed() || time.Since(began) > 10*time.Minute {
			t.Errorf("only %d of %d jobs done", files(t, s, donePart), jobs)
			break
		}
	}
	tick.Stop()
	close(finished)
	wg.Wait()

	entries, err := s.Entries()
	must(t, err)
	ids := map[string]bool{}
	for _, e := range entries {
		if e.State != Done {
			t.Errorf("%+v is not done", e)
		}
		ids[e.ID] = true
	}
	if kills == 0 && !testing.Short() {
		t.Error("nobody was killed")
	}
	if len(entries) != jobs || len(ids) != jobs {
		t.Errorf("%d entries of %d jobs, want %d", len(entries), len(ids), jobs)
	}
	t.Logf("%d jobs, %d kills, %d claims, %d lost races of those who lived", jobs, kills, len(claimMarks(t, marks)), raced)
}

func claimMarks(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	return entries
}

// TestRacersPartCompany: instances that start at the same place do not go on
// fighting for the same jobs; without the skipping and the shuffle each job costs
// every instance but one a failed rename. G44
func TestRacersPartCompany(t *testing.T) {
	t.Parallel()
	dir := shm(t)
	const racers, jobs = 8, 8_000
	fill(t, start(t, dir, Config{}), jobs)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var done, races, passes int
	for range racers {
		s := start(t, dir, Config{})
		wg.Go(func() {
			n := 0
			for {
				c, err := s.TryClaim()
				if err == ErrEmpty {
					break
				}
				if err == nil {
					err = c.Done()
				}
				if err != nil {
					t.Error(err)
					break
				}
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			done, races, passes = done+n, races+s.jobs.races, passes+s.jobs.pass
		})
	}
	wg.Wait()
	t.Logf("%d done, %d lost races, %d passes", done, races, passes)
	if done != jobs || races > 2*jobs { // with neither, or with the shuffle alone, it is 3*jobs
		t.Errorf("%d of %d done, with %d lost races", done, jobs, races)
	}
	// A pass reads the whole directory once, however many claims it feeds.
	if passes > 40*racers {
		t.Errorf("%d passes for %d jobs", passes, jobs)
	}
}

// zombieRole claims a job, says so, waits for a line and tries to finish it.
func zombieRole(args []string) error {
	s, err := Open(args[0], Config{Lease: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	c, err := s.TryClaim()
	if err != nil {
		return err
	}
	fmt.Println("claimed")
	bufio.NewReader(os.Stdin).ReadString('\n')
	if err := c.Done(); errors.Is(err, ErrClaimLost) {
		fmt.Println("lost")
	} else {
		fmt.Println("done", err)
	}
	return s.Close()
}

// TestStoppedProcess: a worker that is stopped loses its claim to its lease, and
// learns it when it goes on. G34
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shm(t), "spool")
	s := start(t, dir, Config{Lease: 300 * time.Millisecond})
	put(t, s, "j")
	cmd := reexec(t, "zombie", dir)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "claimed" {
		t.Fatalf("the worker said %q", lines.Text())
	}
	must(t, cmd.Process.Signal(syscall.SIGSTOP))
	n := 0
	for end := time.Now().Add(time.Minute); n == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n, err = s.Reclaim()
		must(t, err)
	}
	if n != 1 {
		t.Fatal("a stopped worker was never reclaimed from")
	}
	c := claim(t, s)
	must(t, cmd.Process.Signal(syscall.SIGCONT))
	fmt.Fprintln(stdin)
	if !lines.Scan() || lines.Text() != "lost" {
		t.Errorf("the worker that came back said %q, want lost", lines.Text())
	}
	must(t, cmd.Wait())
	if c.Attempt() != 2 {
		t.Errorf("attempt %d, want 2", c.Attempt())
	}
	must(t, c.Done())
}
