// SPDX-License-Identifier: MIT

// Package identd is an RFC 1413 server, and the print server that trusted one.
package identd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxLine is the longest query or reply accepted, its end included: the RFC's own
// measure (§6, note 2).
const maxLine = 1000

// A Pair is the two port numbers of a query: the one on the ident server's machine
// first, then the one on the machine that asks.
type Pair struct{ Server, Client uint16 }

// The errors of RFC 1413 §5. They are both what a server says and what Ask returns.
var (
	ErrInvalidPort = errors.New("INVALID-PORT")
	ErrNoUser      = errors.New("NO-USER")
	ErrHiddenUser  = errors.New("HIDDEN-USER")
	ErrUnknown     = errors.New("UNKNOWN-ERROR")
)

// parsePair reads a query without its end of line. White space may be anywhere but
// within a number, and a number is one to five digits. On error the pair is what
// there is to repeat in the reply: numbers only, whatever came.
func parsePair(line string) (server, client string, pair Pair, err error) {
	s, c, ok := strings.Cut(line, ",")
	s, c = strings.Trim(s, " \t"), strings.Trim(c, " \t")
	if !ok || !isNumber(s) || !isNumber(c) {
		return "0", "0", Pair{}, ErrInvalidPort
	}
	a, err1 := strconv.ParseUint(s, 10, 16)
	b, err2 := strconv.ParseUint(c, 10, 16)
	if err1 != nil || err2 != nil || a == 0 || b == 0 {
		return s, c, Pair{}, ErrInvalidPort
	}
	return s, c, Pair{uint16(a), uint16(b)}, nil
}

func isNumber(s string) bool {
	return len(s) >= 1 && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}

// Ask asks the ident server at addr whose the pair is. Its error wraps one of those
// above if that is what the server says, and is ctx's cause if ctx ended it.
func Ask(ctx context.Context, addr netip.AddrPort, pair Pair) (user string, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	if _, err := fmt.Fprintf(conn, "%d, %d\r\n", pair.Server, pair.Client); err != nil {
		return "", err
	}
	line, err := bufio.NewReaderSize(conn, maxLine).ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("ident reply: %w", err)
	}
	// server, client : USERID : opsys : user  or  server, client : ERROR : reason
	ports, rest, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), ":")
	if _, _, got, err := parsePair(ports); err != nil || got != pair {
		return "", fmt.Errorf("ident reply is about another connection: %q", line)
	}
	kind, rest, _ := strings.Cut(rest, ":")
	switch strings.TrimSpace(kind) {
	case "USERID":
		_, user, ok := strings.Cut(rest, ":")
		if user = strings.TrimLeft(user, " \t"); ok && user != "" {
			return user, nil
		}
	case "ERROR":
		for _, err := range []error{ErrInvalidPort, ErrNoUser, ErrHiddenUser, ErrUnknown} {
			if strings.TrimSpace(rest) == err.Error() {
				return "", fmt.Errorf("ident: %w", err)
			}
		}
	}
	return "", fmt.Errorf("ident reply not understood: %q", line)
}
