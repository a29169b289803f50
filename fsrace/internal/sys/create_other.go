// SPDX-License-Identifier: MIT

//go:build !linux

package sys

func (OS) Create(name string) error { return createByOpen(name) }
