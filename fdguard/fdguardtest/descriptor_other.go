// SPDX-License-Identifier: MIT

//go:build !unix

package fdguardtest

func openDescriptors() []Descriptor { return nil }

func withoutPooledPipes(ds []Descriptor) []Descriptor { return ds }

func isTestingFile(Descriptor) bool { return false }
