// SPDX-License-Identifier: MIT

//go:build unix && !linux

package fdguardtest

import "os"

// openDescriptors probes: /dev/fd shows only 0 to 2 on FreeBSD without fdescfs.
func openDescriptors() []Descriptor {
	startPoller()
	var all []Descriptor
	for _, fd := range probe() {
		if d, ok := describe(fd); ok {
			all = append(all, d)
		}
	}
	return all
}

// startPoller makes the runtime open its kqueue now, so that it never appears late.
func startPoller() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
}

func link(int) string { return "" }

func withoutPooledPipes(ds []Descriptor) []Descriptor { return ds }
