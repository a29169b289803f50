// SPDX-License-Identifier: MIT

package spool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/seed-b08dbae9/sysprim/fsrace/spool"
)

func Example() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := spool.Open(dir, spool.Config{Label: "submit"})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Put("msg-1.xml", strings.NewReader("<job/>")); err != nil {
		log.Fatal(err)
	}
	c, err := s.Claim(context.Background()) // by one worker, on whatever host
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Name(), "attempt", c.Attempt(), "by", c.Owner().Label, "-", c.Done())
	// Output: msg-1.xml attempt 1 by submit - <nil>
}

// open opens a spool in a new directory, and ends both.
func open(cfg spool.Config) (s *spool.Spool, end func()) {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	s, err = spool.Open(dir, cfg)
	if err != nil {
		log.Fatal(err)
	}
	return s, func() { s.Close(); os.RemoveAll(dir) }
}

// A worker: claim, work, and say how it ended.
func ExampleSpool_Claim() {
	s, end := open(spool.Config{Label: "worker"})
	defer end()
	s.Put("good", strings.NewReader("42"))
	s.Put("bad", strings.NewReader("forty-two"))

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for n := 0; ; n++ {
		if n == 2 {
			cancel()
		}
		c, err := s.Claim(ctx)
		if err != nil {
			fmt.Println("stopped:", err)
			break
		}
		f, err := c.Open()
		if err != nil {
			log.Fatal(err)
		}
		data, err := io.ReadAll(f)
		f.Close()
		switch {
		case err != nil:
			err = c.Retry(err.Error()) // counted
		case string(data) == "42":
			err = c.Done()
		default:
			err = c.Fail("not a number")
		}
		if errors.Is(err, spool.ErrClaimLost) {
			continue // somebody else does it: publish nothing
		}
	}
	entries, _ := s.Entries()
	for _, e := range entries {
		fmt.Printf("%s is %s %q\n", e.Name, e.State, e.Reason)
	}
	// Output:
	// stopped: context canceled
	// good is done ""
	// bad is failed "not a number"
}

// The second instance that somebody has forgotten is on the list, and so is what it holds.
func ExampleSpool_Workers() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, label := range []string{"cron on the new host", "cron on the old host"} {
		s, err := spool.Open(dir, spool.Config{Label: label})
		if err != nil {
			log.Fatal(err)
		}
		defer s.Close()
		s.Put("job of "+label, strings.NewReader(""))
		s.TryClaim()
	}

	s, err := spool.Open(dir, spool.Config{Observer: true})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	workers, err := s.Workers()
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range workers {
		fmt.Println(o.Label, o.Liveness(), o.PID == os.Getpid())
	}
	entries, err := s.Entries()
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range entries {
		fmt.Println(e.Name, e.State, "by", e.Owner.Label)
	}
	// Unordered output:
	// cron on the new host alive true
	// cron on the old host alive true
	// job of cron on the new host claimed by cron on the new host
	// job of cron on the old host claimed by cron on the old host
}

func ExampleClaim_Release() {
	s, end := open(spool.Config{})
	defer end()
	s.Put("job", strings.NewReader(""))
	c, err := s.TryClaim()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("attempt", c.Attempt(), c.Release()) // we are not configured for it
	c, err = s.TryClaim()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("attempt", c.Attempt(), c.Done())
	fmt.Println(c.Done(), errors.Is(c.Release(), os.ErrClosed))
	// Output:
	// attempt 1 <nil>
	// attempt 1 <nil>
	// <nil> true
}

func ExampleSpool_Reclaim() {
	s, end := open(spool.Config{MaxAttempts: 3})
	defer end()
	n, err := s.Reclaim() // nobody has died
	fmt.Println(n, err)
	_, err = s.TryClaim()
	fmt.Println(errors.Is(err, spool.ErrEmpty))
	// Output:
	// 0 <nil>
	// true
}

func ExampleSpool_Evict() {
	s, end := open(spool.Config{})
	defer end()
	s.Put("job", strings.NewReader(""))
	c, err := s.TryClaim()
	if err != nil {
		log.Fatal(err)
	}
	n, err := s.Evict(c.Owner().Nonce)
	fmt.Println(n, err)
	fmt.Println(errors.Is(c.Check(), spool.ErrClaimLost), errors.Is(c.Done(), spool.ErrClaimLost))
	// Output:
	// 1 <nil>
	// true true
}

// After a power failure: what the workers of this host held then, nobody holds now.
func ExampleSpool_EvictHost() {
	s, end := open(spool.Config{})
	defer end()
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.EvictHost(host))
	// Output:
	// 0 <nil>
}

func ExampleSpool_Requeue() {
	s, end := open(spool.Config{})
	defer end()
	s.Put("job", strings.NewReader(""))
	c, err := s.TryClaim()
	if err != nil {
		log.Fatal(err)
	}
	c.Fail("no such queue")
	entries, _ := s.Entries()
	for _, e := range entries {
		fmt.Println(e.Name, e.State, e.Reason, s.Requeue(e.ID))
	}
	n, err := s.Prune(0) // nothing is done
	fmt.Println(n, err)
	// Output:
	// job failed no such queue <nil>
	// 0 <nil>
}
