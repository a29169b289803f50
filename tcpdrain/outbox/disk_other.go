// SPDX-License-Identifier: MIT

//go:build !linux

package outbox

import "errors"

func (f *osFile) sync() error                       { return f.Sync() }
func (f *osFile) shared(int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }
func (f *osFile) unmap([]byte) error                { return errors.ErrUnsupported }
func (osDisk) boot() string                         { return "" }
func isChecksumError(error) bool                    { return false }
