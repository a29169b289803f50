// SPDX-License-Identifier: MIT

package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
)

// errGone is what move returns if the file was not there to be moved.
var errGone = fmt.Errorf("the file is gone: %w", fs.ErrNotExist)

// move renames a file to a name that nobody else ever uses, and judges by what is
// true afterwards. What the call reports does not matter: an NFS client that
// repeats a request whose reply was lost reports ENOENT, EEXIST or EIO for a rename
// that was made. And as the target cannot exist, it is never the second name of
// the same inode, for which rename(2) succeeds and does nothing.
//
// It returns nil if the file is at to, errGone if it is at neither place, and any
// other error if the file is still at from, or if that could not be found out.
func (s *Spool) move(from, to string) error {
	err := s.fs.Rename(from, to)
	if err == nil {
		return nil
	}
	if _, look := s.fs.Lstat(to); look == nil {
		return nil
	} else if !isGone(look) {
		return errors.Join(err, look)
	}
	if _, look := s.fs.Lstat(from); look == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	} else if !isGone(look) {
		return errors.Join(err, look)
	}
	return errGone
}

// isGone: NFS says ESTALE of what another client has removed.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE)
}

// write makes a file in tmp, durable unless it need not be. The name ends in
// whose it is, so that Reclaim can tell the litter of the dead.
func (s *Spool) write(base string, r io.Reader, durable bool) (err error) {
	tmp := s.path(tmpPart, base)
	f, err := s.fs.Open(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|sys.NoFollow, 0o666)
	if err != nil {
		s.fs.Unlink(tmp) // the name is ours alone: if it is there, the reply was lost
		return &fs.PathError{Op: "create", Path: tmp, Err: err}
	}
	_, err = io.Copy(f, r)
	if err == nil && durable {
		// A sync that failed is not repeated: the kernel has forgotten what it
		// could not write, and the second one would succeed (fsync(2)).
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		s.fs.Unlink(tmp)
	}
	return err
}

// publish replaces the file at part/base, atomically. The target may exist, so what
// tells whether a failed rename was made is the source.
func (s *Spool) publish(part, base, kind, text string, durable bool) error {
	tmp := kind + sep + s.owner.Nonce + sep + strconv.FormatUint(s.moves.Add(1), 16)
	if err := s.write(tmp, strings.NewReader(text), durable); err != nil {
		return err
	}
	from := s.path(tmpPart, tmp)
	if err := s.fs.Rename(from, s.path(part, base)); err != nil {
		if _, look := s.fs.Lstat(from); !isGone(look) {
			s.fs.Unlink(from)
			return &os.LinkError{Op: "rename", Old: from, New: s.path(part, base), Err: err}
		}
	}
	if durable {
		return s.fs.SyncDir(s.path(part, ""))
	}
	return nil
}

const maxText = 8 << 10 // longest format, record or reason file that is read

func (s *Spool) readFile(path string) (string, error) {
	f, err := s.fs.Open(path, os.O_RDONLY|sys.NoFollow|sys.NonBlock, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(data), err
}
