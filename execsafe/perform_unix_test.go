// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// perform plays a child, step by step. A step is a verb and what follows its colon.
func perform(steps []string) int {
	for _, step := range steps {
		verb, arg, _ := strings.Cut(step, ":")
		n, _ := strconv.Atoi(arg)
		d, _ := time.ParseDuration(arg)
		switch verb {
		case "out":
			fmt.Print(arg)
		case "err":
			fmt.Fprint(os.Stderr, arg)
		case "outn":
			io.WriteString(os.Stdout, pattern(n))
		case "errn":
			io.WriteString(os.Stderr, pattern(n))
		case "alternate": // n turns of 70,000 bytes on each stream
			for range n {
				io.WriteString(os.Stdout, pattern(70_000))
				io.WriteString(os.Stderr, pattern(70_000))
			}
		case "memory":
			runsWithinTheirMemory()
		case "lines": // n MiB of 64-byte lines, as fast as a pipe takes them
			b := bytes.Repeat([]byte(strings.Repeat("x", 63)+"\n"), 1<<10)
			for range n << 4 {
				if _, err := os.Stdout.Write(b); err != nil {
					return 1
				}
			}
		case "letters": // n single bytes, in turns
			for i := range n {
				os.Stdout.WriteString(string(rune('a' + i%26)))
				os.Stderr.WriteString(string(rune('A' + i%26)))
			}
		case "sleep":
			time.Sleep(d)
		case "now":
			fmt.Print(" ", time.Now().UnixNano())
		case "exit":
			return n
		case "kill":
			syscall.Kill(os.Getpid(), syscall.Signal(n))
			time.Sleep(time.Minute)
		case "close":
			syscall.Close(n)
		case "ignore":
			signal.Ignore(syscall.SIGTERM)
		case "trap": // on SIGTERM, print arg and exit with 0
			c := make(chan os.Signal, 1)
			signal.Notify(c, syscall.SIGTERM)
			go func() { <-c; fmt.Print(arg); os.Exit(0) }()
		case "cat":
			in := bufio.NewReader(os.Stdin)
			for i := 0; ; i++ {
				b := make([]byte, 10_000)
				k, err := in.Read(b)
				os.Stdout.Write(b[:k])
				fmt.Fprintf(os.Stderr, "chatter %d\n", i)
				if err != nil {
					break
				}
			}
		case "env":
			fmt.Print(os.Getenv(arg))
		case "pgid":
			fmt.Print(syscall.Getpgrp())
		case "fork", "forkquiet", "forksetsid", "fork200": // the steps of arg, cut at "+", in a child
			times := 1
			if verb == "fork200" {
				times = 200
			}
			for range times {
				cmd := exec.Command(os.Args[0], strings.Split(arg, "+")...)
				if verb != "forkquiet" {
					cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
				}
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: verb == "forksetsid"}
				if err := cmd.Start(); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return 99
				}
				if verb != "fork200" {
					fmt.Printf("\npid %d\n", cmd.Process.Pid)
				}
			}
		case "waitfile": // until there is such a file
			for {
				if _, err := os.Stat(arg); err == nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
		case "touch":
			os.WriteFile(arg, nil, 0o600)
		default:
			if !performHere(verb, arg, n) {
				fmt.Fprintf(os.Stderr, "no step %q\n", step)
				return 98
			}
		}
	}
	return 0
}
