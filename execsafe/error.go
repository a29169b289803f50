// SPDX-License-Identifier: MIT

package execsafe

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// An Error reports a command that did not start, did not succeed or was stopped.
// Its text has the command, the reason, the exit and the end of stderr, with the
// secrets of [Runner.Redact] replaced.
type Error struct {
	Result *Result // never nil
	// Err is what came first, and [*exec.ExitError] if the child did not exit well.
	// Where the caller's own code gave a cause (a context, a reader, a writer), it
	// is wrapped as it is: Redact covers the text of the Error only.
	Err error

	text string
}

func (e *Error) Error() string {
	if e.text == "" { // not made by this package
		return describe(e.Result, e.Err, "", redactor{})
	}
	return e.text
}

func (e *Error) Unwrap() error { return e.Err }

const (
	maxCommand = 512  // bytes of the command line in an error
	maxTail    = 1024 // bytes of stderr in an error
)

// newError describes err. exit is the part of it that is new and may be completed:
// others in its chain, from a context or another stage, are not ours to change.
func newError(res *Result, err error, exit *exec.ExitError, red redactor) *Error {
	out := res.Stderr
	if out.Total() == 0 && res.Reason != StartFailed {
		if res.combined {
			out = res.Stdout
		}
	}
	tail := red.tail(out, maxTail)
	if exit != nil {
		exit.Stderr = []byte(tail)
	}
	return &Error{Result: res, Err: err, text: describe(res, err, tail, red)}
}

func describe(res *Result, err error, tail string, red redactor) string {
	var b strings.Builder
	b.WriteString("execsafe: ")
	if res != nil && len(res.Args) > 0 {
		b.WriteString(commandLine(res.Args))
		b.WriteString(": ")
	}
	if err != nil {
		b.WriteString(red.text(err.Error()))
	}
	switch {
	case tail == "":
	case strings.Contains(tail, "\n"):
		b.WriteString(":\n\t")
		b.WriteString(strings.ReplaceAll(tail, "\n", "\n\t"))
	default:
		b.WriteString(": ")
		b.WriteString(tail)
	}
	return b.String()
}

// commandLine shows args, quoting what a reader could not tell apart otherwise.
func commandLine(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r == '"' || r == '\'' || !strconv.IsPrint(r) }) {
			a = strconv.Quote(a)
		}
		b.WriteString(a)
		if b.Len() > maxCommand {
			return strings.ToValidUTF8(b.String()[:maxCommand], "") + fmt.Sprintf("… (%d arguments)", len(args)-1)
		}
	}
	return b.String()
}

func limitError(limit int64, src Source) error {
	return fmt.Errorf("%w: more than %d bytes on %v", ErrOutputLimit, limit, src)
}
