// SPDX-License-Identifier: MIT

package execsafe

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// groupMembers counts the processes of group pgid that are not dead, besides the
// leader. Signal 0 cannot tell: it reaches zombies too, and those of a container
// whose first process does not reap stay for ever. See proc_pid_stat(5). It is an
// error if /proc cannot be read, for want of a descriptor for example.
func groupMembers(pgid int) (n int, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	if _, err := os.Stat("/proc/self/stat"); err != nil { // not mounted
		return 0, err
	}
	buf := make([]byte, 512)
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err != nil || pid == pgid {
				continue
			}
			in, err := inGroup(name, pgid, buf)
			if err != nil {
				return n, err
			}
			if in {
				n++
			}
		}
		if err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

func inGroup(name string, pgid int, buf []byte) (bool, error) {
	f, err := os.Open("/proc/" + name + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // gone, or a stranger's
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer f.Close()
	n, _ := f.Read(buf)
	state, group := parseStat(buf[:n])
	return group == pgid && state != 'Z' && state != 'X', nil
}

// parseStat takes the state and the process group from a stat line. The command's
// name, in parentheses, may itself hold spaces and parentheses.
func parseStat(line []byte) (state byte, pgid int) {
	f := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(f) < 3 || len(f[0]) != 1 {
		return 0, 0
	}
	pgid, err := strconv.Atoi(string(f[2]))
	if err != nil {
		return 0, 0
	}
	return f[0][0], pgid
}
