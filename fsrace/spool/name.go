// SPDX-License-Identifier: MIT

package spool

import (
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name of a job in bytes. File systems take 255 bytes; the
// rest is for who moved the file and how often.
const MaxName = 255 - len("~0123456789abcdef~2147483647~2147483647~0123456789abcdef~0123456789abcdef.reason")

// A NameError reports a job name that no spool takes. It unwraps to [fs.ErrInvalid].
type NameError struct {
	Name   string
	Reason string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("spool: invalid job name %.300q: %s", e.Name, e.Reason)
}

func (e *NameError) Unwrap() error { return fs.ErrInvalid }

// checkName keeps out what some host that shares the spool could not hold, what
// ls(1) hides, and what would leave the directory.
func checkName(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "empty"
	case len(name) > MaxName:
		reason = fmt.Sprintf("%d bytes, %d are allowed", len(name), MaxName)
	case name[0] == '.':
		reason = "hidden (leading dot)"
	case !utf8.ValidString(name):
		reason = "not UTF-8"
	case strings.ContainsAny(name, `/\`):
		reason = "path separator"
	case strings.ContainsFunc(name, unicode.IsControl):
		reason = "control character"
	case !filepath.IsLocal(name):
		reason = "reserved on this system"
	default:
		return nil
	}
	return &NameError{name, reason}
}

// A file is a job as its file name tells it. The directory tells the state.
//
//	NAME~ID~ATTEMPT~GENERATION~WORKER~MOVE
//
// Invariants, on which everything else rests:
//
//	(1) WORKER and MOVE together never occur twice: each move of a job gives it a
//	    name that no job has had and no job will have again.
//	(2) NAME and ID stay with the job for good.
//	(3) GENERATION grows by one with each claim.
type file struct {
	name       string
	id         string // 16 hexadecimal digits, random
	attempt    int32  // claims that counted
	generation int32  // claims
	worker     string // nonce of the owner who moved it here: 16 hexadecimal digits
	move       uint64 // that worker's count of moves
}

const sep = "~"

// claimed is f claimed once more. The counts stop at the largest number that every
// platform's int holds.
func (f file) claimed() file {
	f.attempt += min(1, math.MaxInt32-f.attempt)
	f.generation += min(1, math.MaxInt32-f.generation)
	return f
}

// uncounted is f without its last attempt.
func (f file) uncounted() file {
	f.attempt -= min(1, f.attempt)
	return f
}

func (f file) String() string {
	b := make([]byte, 0, 128)
	b = append(append(append(b, f.name...), sep...), f.id...)
	b = strconv.AppendInt(append(b, sep...), int64(f.attempt), 10)
	b = strconv.AppendInt(append(b, sep...), int64(f.generation), 10)
	b = append(append(b, sep...), f.worker...)
	b = strconv.AppendUint(append(b, sep...), f.move, 16)
	return string(b)
}

// parseFile is the inverse of String. It takes nothing that String does not write,
// so that two names are never one file.
func parseFile(base string) (file, bool) {
	rest := base
	cut := func() (field string) {
		if i := strings.LastIndex(rest, sep); i >= 0 {
			rest, field = rest[:i], rest[i+1:]
		}
		return field
	}
	var f file
	move := cut()
	f.worker = cut()
	generation, attempt := cut(), cut()
	f.id = cut()
	f.name = rest
	if !isNonce(f.id) || !isNonce(f.worker) || checkName(f.name) != nil {
		return file{}, false
	}
	var ok [3]bool
	var n uint64
	n, ok[0] = parseUint(attempt, 10, 31)
	f.attempt = int32(n)
	n, ok[1] = parseUint(generation, 10, 31)
	f.generation = int32(n)
	f.move, ok[2] = parseUint(move, 16, 64)
	if ok != [3]bool{true, true, true} {
		return file{}, false
	}
	return f, true
}

func parseUint(s string, base, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(s, base, bits)
	return n, err == nil && strconv.FormatUint(n, base) == s
}

func isNonce(s string) bool {
	if len(s) != 16 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
