// SPDX-License-Identifier: MIT

package jobspool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

// A pipeline is the processes of one step, two of each stage.
type pipeline struct {
	ctx      context.Context
	cancel   context.CancelFunc
	base     string
	cluster  cluster
	prefix   string // of the roles
	progress incident.Progress

	instances []*instance
	nextID    uint32

	mu   sync.Mutex
	says map[string]int // lines of the instances' output, by first word
}

// An instance is a process of the pipeline.
type instance struct {
	stage, host string
	cmd         *exec.Cmd
	stdin       io.Closer
	hello       string // its first line, when it works: a receiver's address
	ended       chan struct{}
	err         error
	killed      bool
}

func label(stage, host string) string { return stage + " on " + host }

func newPipeline(ctx context.Context, prefix string, progress incident.Progress) (*pipeline, error) {
	base, err := os.MkdirTemp("", "jobspool-")
	if err != nil {
		return nil, err
	}
	to, err := os.MkdirTemp("", "jobspool-cluster-")
	if err != nil {
		os.RemoveAll(base)
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	return &pipeline{
		ctx: ctx, cancel: cancel, base: base, cluster: cluster(to), prefix: prefix, progress: progress, says: map[string]int{},
	}, nil
}

// startAll starts two of each stage: the submitter on the new host has no cluster.
func (p *pipeline) startAll() error {
	for _, host := range []string{oldHost, newHost} {
		for _, stage := range []string{"receive", "convert", "submit"} {
			args := []string{p.base, label(stage, host)}
			if stage == "submit" {
				args = append(args, map[string]string{oldHost: string(p.cluster)}[host])
			}
			if err := p.start(stage, host, args); err != nil {
				return err
			}
		}
	}
	p.progress("2 receivers, 2 converters and 2 submitters run; the one on the %s knows no cluster", newHost)
	return nil
}

func (p *pipeline) start(stage, host string, args []string) error {
	in := &instance{stage: stage, host: host, ended: make(chan struct{})}
	in.cmd = processes.Command(p.prefix+stage, args...)
	in.cmd.Stderr = os.Stderr
	stdin, err := in.cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := in.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := in.cmd.Start(); err != nil {
		return err
	}
	in.stdin = stdin
	p.instances = append(p.instances, in)
	hello := make(chan string, 1)
	go func() {
		defer close(in.ended)
		defer close(hello)
		lines := bufio.NewScanner(stdout)
		for n := 0; lines.Scan(); n++ {
			if n == 0 {
				hello <- lines.Text()
				continue
			}
			word, _, _ := strings.Cut(lines.Text(), " ")
			p.mu.Lock()
			p.says[word]++
			p.mu.Unlock()
		}
		in.err = in.cmd.Wait()
	}()
	select {
	case in.hello = <-hello:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	if in.hello == "" {
		return fmt.Errorf("%s did not start", label(stage, host))
	}
	return nil
}

// send sends n messages, shared among the receivers, and waits for the replies.
func (p *pipeline) send(n int) error {
	var batches [][]Message
	var addrs []string
	for _, in := range p.instances {
		if in.stage == "receive" {
			addrs = append(addrs, in.hello)
			batches = append(batches, nil)
		}
	}
	for range n {
		p.nextID++
		i := int(p.nextID) % len(batches)
		batches[i] = append(batches[i], Message{ID: p.nextID, Program: fmt.Sprintf("simulate --seed %d", p.nextID)})
	}
	errs := make([]error, len(batches))
	var wg sync.WaitGroup
	for i, batch := range batches {
		wg.Go(func() { errs[i] = send(p.ctx, addrs[i], batch) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p.progress("%d messages sent, all acknowledged", n)
	return nil
}

// wait waits until done says so.
func (p *pipeline) wait(done func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		case <-tick.C:
		}
	}
}

func (p *pipeline) find(stage, host string) *instance {
	for _, in := range p.instances {
		if in.stage == stage && in.host == host {
			return in
		}
	}
	return nil
}

func (p *pipeline) pid(stage, host string) int { return p.find(stage, host).cmd.Process.Pid }

// kill ends an instance without a warning.
func (p *pipeline) kill(stage, host string) error {
	in := p.find(stage, host)
	in.killed = true
	if err := in.cmd.Process.Kill(); err != nil {
		return err
	}
	<-in.ended
	return nil
}

// said returns how many lines the instances have printed that begin with word.
func (p *pipeline) said(word string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.says[word]
}

// stop lets the instances finish what they have in hand, and waits for their ends.
func (p *pipeline) stop() error {
	var errs []error
	for _, in := range p.instances {
		in.stdin.Close()
	}
	for _, in := range p.instances {
		select {
		case <-in.ended:
		case <-p.ctx.Done():
			in.cmd.Process.Kill()
			<-in.ended
		}
		if in.err != nil && !in.killed {
			errs = append(errs, fmt.Errorf("%s: %w", label(in.stage, in.host), in.err))
		}
	}
	return errors.Join(errs...)
}

// close ends everything and leaves nothing behind.
func (p *pipeline) close() {
	p.cancel()
	p.stop()
	os.RemoveAll(p.base)
	os.RemoveAll(string(p.cluster))
}
