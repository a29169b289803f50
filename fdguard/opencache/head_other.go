// SPDX-License-Identifier: MIT

//go:build !linux

package opencache

import (
	"errors"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

type stamp struct{}

func stampOf(*fdguard.File) (stamp, error) { return stamp{}, errors.ErrUnsupported }

func (stamp) changed() time.Time { return time.Time{} }
