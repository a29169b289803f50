// SPDX-License-Identifier: MIT

//go:build unix && !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

func (OS) Chmod(name string, perm fs.FileMode) error { return Bare(os.Chmod(name, perm)) }

func (f file) TryLock() error { return fmt.Errorf("flock: %w", errors.ErrUnsupported) }

func (f file) Unlock() error { return f.TryLock() }
