// SPDX-License-Identifier: MIT

package execsafe

import (
	"io/fs"
	"os/exec"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// A redactor replaces secrets, the longest first, so that one that contains another
// is replaced as a whole.
type redactor struct {
	secrets []string
	longest int
}

func newRedactor(secrets []string) redactor {
	var r redactor
	for _, s := range secrets {
		if s != "" {
			r.secrets = append(r.secrets, s)
			r.longest = max(r.longest, len(s))
		}
	}
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
	return r
}

func (r redactor) text(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, redacted)
	}
	return s
}

func (r redactor) args(args []string) []string {
	args = slices.Clone(args)
	for i := range args {
		args[i] = r.text(args[i])
	}
	return args
}

// tail returns at most max bytes from the end of out, as text for people: from the
// start of a line if one begins there, without trailing white space, and without
// any part of a secret that was cut.
func (r redactor) tail(out *Output, max int) string {
	b, cut := out.last(max + r.longest)
	s := r.text(string(b))
	if cut {
		s = r.beginning(s)
	}
	if out.Truncated() && out.gap == out.kept {
		s = r.ending(s)
	}
	s = strings.TrimRight(s, " \t\r\n")
	if len(s) > max {
		s = s[len(s)-max:]
		cut = true
	}
	if cut {
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			s = s[i+1:]
		}
		s = "…" + s
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\r\n", "\n"), "\uFFFD")
}

// beginning replaces what may be the end of a secret whose beginning was cut off.
func (r redactor) beginning(s string) string {
	for _, secret := range r.secrets {
		for i := 1; i < len(secret); i++ {
			if rest, ok := strings.CutPrefix(s, secret[i:]); ok {
				return redacted + rest
			}
		}
	}
	return s
}

// ending replaces what may be the beginning of a secret whose end was cut off.
func (r redactor) ending(s string) string {
	for _, secret := range r.secrets {
		for i := len(secret) - 1; i > 0; i-- {
			if rest, ok := strings.CutSuffix(s, secret[:i]); ok {
				return rest + redacted
			}
		}
	}
	return s
}

// err returns err, of a start that failed, without the secrets in the texts of its
// chain: the paths that failed system calls repeat, and what was wrapped around them.
func (r redactor) err(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return &fs.PathError{Op: e.Op, Path: r.text(e.Path), Err: e.Err}
	case *exec.Error:
		return &exec.Error{Name: r.text(e.Name), Err: r.err(e.Err)}
	}
	w, ok := r.wrap(err).(*wrapped)
	if !ok {
		return err
	}
	for i := range w.errs {
		w.errs[i] = r.err(w.errs[i])
	}
	return w
}

// wrap returns err without the secrets in its own text, if this package has wrapped
// it around others. Those, the caller's own among them, are left as they are.
func (r redactor) wrap(err error) error {
	text := r.text(err.Error())
	if text == err.Error() {
		return err
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return &wrapped{text, []error{e.Unwrap()}}
	case interface{ Unwrap() []error }:
		return &wrapped{text, slices.Clone(e.Unwrap())}
	}
	return err
}

type wrapped struct {
	text string
	errs []error
}

func (w *wrapped) Error() string   { return w.text }
func (w *wrapped) Unwrap() []error { return w.errs }
