// SPDX-License-Identifier: MIT

//go:build unix

package execsafe

import "os"

// createUnlinked makes a file and takes its name away at once.
func createUnlinked(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "execsafe-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
