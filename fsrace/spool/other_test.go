// SPDX-License-Identifier: MIT

//go:build unix && !linux

package spool

const runtimeCannotProveDeath = true
