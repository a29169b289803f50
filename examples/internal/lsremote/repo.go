// SPDX-License-Identifier: MIT

// Package lsremote tells the first incident: a program that ran git ls-remote,
// waited for it, and then read its output hung for good on the day the listing
// outgrew the pipe.
package lsremote

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The two listings of the story, in bytes. A pipe holds 65,536 (pipe(7)).
const (
	before = 65_368
	after  = 65_572
)

// A repository is a real one, with as many branches as the listing needs.
type repository struct {
	dir    string
	commit string
}

// newRepository makes a repository below dir whose git ls-remote prints exactly
// before bytes.
func newRepository(ctx context.Context, dir string) (*repository, error) {
	r := &repository{dir: filepath.Join(dir, "repository.git")}
	if err := os.Mkdir(r.dir, 0o777); err != nil {
		return nil, err
	}
	if _, err := r.git(ctx, "", "init", "--quiet", "--bare"); err != nil {
		return nil, err
	}
	if _, err := r.git(ctx, "", "symbolic-ref", "HEAD", "refs/heads/main"); err != nil {
		return nil, err
	}
	tree, err := r.git(ctx, "", "mktree")
	if err != nil {
		return nil, err
	}
	r.commit, err = r.git(ctx, "", "commit-tree", "-m", "first", tree)
	if err != nil {
		return nil, err
	}

	// ls-remote prints an object name, a tab, a reference and a newline for HEAD
	// and for each branch. Names of equal length fill the listing; the last one
	// takes up what is left.
	//
	// All go into one file, see gitrepository-layout(5): git update-ref would make
	// two files of each, which takes a slow disk half a minute.
	var packed strings.Builder
	pack := func(ref string) { fmt.Fprintf(&packed, "%s %s\n", r.commit, ref) }
	pack("refs/heads/main")
	left := before - r.line("HEAD") - r.line("refs/heads/main")
	for n := 0; left > 0; n++ {
		ref := fmt.Sprintf("refs/heads/feature/%04d", n)
		if full := r.line(ref); left < 2*full {
			ref += strings.Repeat("x", left-full)
		}
		pack(ref)
		left -= r.line(ref)
	}
	return r, os.WriteFile(filepath.Join(r.dir, "packed-refs"), []byte(packed.String()), 0o666)
}

// grow adds the one branch that takes the listing from before to after.
func (r *repository) grow(ctx context.Context) error {
	ref := "refs/heads/the-branch-that-was-one-too-many-"
	ref += strings.Repeat("x", after-before-r.line(ref))
	_, err := r.git(ctx, "", "update-ref", ref, r.commit)
	return err
}

// line is the length of the line that ls-remote prints for ref.
func (r *repository) line(ref string) int { return len(r.commit) + len("\t") + len(ref) + len("\n") }

// lsRemote is the command of the story.
func (r *repository) lsRemote() *exec.Cmd {
	cmd := exec.Command("git", "ls-remote", r.dir)
	cmd.Env = environment()
	return cmd
}

// git prepares the stage. It is no part of the story.
func (r *repository) git(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = r.dir, environment(), strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// environment keeps the machine's and the user's git configuration out.
func environment() []string {
	return append(os.Environ(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_DEFAULT_HASH=sha1", "GIT_DEFAULT_REF_FORMAT=files",
		"GIT_AUTHOR_NAME=sysprim", "GIT_AUTHOR_EMAIL=sysprim@example.invalid",
		"GIT_COMMITTER_NAME=sysprim", "GIT_COMMITTER_EMAIL=sysprim@example.invalid",
	)
}
