// SPDX-License-Identifier: MIT

//go:build !linux

package opencache

import (
	"errors"
	"io/fs"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

type stamp struct{}

func stampOf(*fdguard.File) (stamp, error) { return stamp{}, errors.ErrUnsupported }

func (stamp) changed() time.Time { return time.Time{} }

func sameAccess(a, b fs.FileInfo) bool { return a.Mode() == b.Mode() }
