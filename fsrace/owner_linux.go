// SPDX-License-Identifier: MIT

package fsrace

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// self is constant in a process: setns(2) and unshare(2) change the PID namespace
// of future children only.
var self = sync.OnceValue(func() identity {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}
	}
	// A /proc mounted in another PID namespace would describe other processes.
	if pid, err := os.Readlink("/proc/self"); err != nil || pid != strconv.Itoa(os.Getpid()) {
		return identity{}
	}
	ns, err := os.Readlink("/proc/self/ns/pid") // pid:[4026531836]
	if err != nil {
		return identity{}
	}
	ns = strings.TrimSuffix(strings.TrimPrefix(ns, "pid:["), "]")
	return identity{boot: strings.TrimSpace(string(boot)), pidns: ns, start: look(os.Getpid()).start}
})

func look(pid int) sighting {
	// kill(2) and not /proc decides that a process is gone: /proc hides processes
	// under hidepid (proc(5)). EPERM means that it exists.
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return sighting{gone: true}
	}
	if shifted() {
		return sighting{}
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return sighting{}
	}
	return parseStat(stat)
}

// parseStat reads proc_pid_stat(5). The command's name, field 2, may hold spaces
// and parentheses, so fields are counted from the last parenthesis.
func parseStat(stat []byte) sighting {
	const state, threads, start = 0, 17, 19 // fields 3, 20 and 22
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) <= start {
		return sighting{}
	}
	ticks, err := strconv.ParseUint(string(f[start]), 10, 64)
	if err != nil {
		return sighting{}
	}
	// A leader that has exited while its threads run on is a zombie too.
	zombie := f[state][0] == 'Z' || f[state][0] == 'X'
	n, err := strconv.Atoi(string(f[threads]))
	return sighting{start: ticks, exited: zombie && err == nil && n <= 1}
}

// shifted reports whether this process is in a time namespace whose clock since
// boot differs (time_namespaces(7)): start times then look different in it, and
// prove nothing.
var shifted = sync.OnceValue(func() bool {
	offsets, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		return !os.IsNotExist(err) // before Linux 5.6 there are none
	}
	for line := range bytes.Lines(offsets) {
		f := bytes.Fields(line)
		if len(f) == 3 && string(f[0]) == "boottime" {
			return string(f[1]) != "0" || string(f[2]) != "0"
		}
	}
	return false
})
