// SPDX-License-Identifier: MIT

package identd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestAsk has a server that says what it likes.
func TestAsk(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]any{
		"4711, 23 : USERID : UNIX : stjohns\r\n":          "stjohns",
		"4711,23:USERID:UNIX:stjohns\r\n":                 "stjohns",
		"4711 , 23 : USERID : UNIX, US-ASCII : a : b\r\n": "a : b", // all after the third colon
		"4711, 23 : USERID : OTHER : 4001\n":              "4001",
		"4711, 23 : ERROR : NO-USER\r\n":                  ErrNoUser,
		"4711, 23 : ERROR : HIDDEN-USER\r\n":              ErrHiddenUser,
		"4711,23:ERROR:INVALID-PORT\r\n":                  ErrInvalidPort,
		"4711, 23 : ERROR : UNKNOWN-ERROR\r\n":            ErrUnknown,
		"4711, 23 : ERROR : X-BUSY\r\n":                   nil,
		"4711, 23 : USERID : UNIX : \r\n":                 nil,
		"4711, 23 : USERID : UNIX\r\n":                    nil,
		"23, 4711 : USERID : UNIX : somebody\r\n":         nil,
		"0, 0 : USERID : UNIX : somebody\r\n":             nil,
		"stjohns\r\n":                                     nil,
		"4711, 23 : USERID : UNIX : no end of line":       nil,
		"": nil,
		"4711, 23 : USERID : " + strings.Repeat("x", 2<<10): nil,
	} {
		t.Run(fmt.Sprintf("%.40q", reply), func(t *testing.T) {
			t.Parallel()
			addr := replyWith(t, reply)
			user, err := Ask(t.Context(), addr, Pair{4711, 23})
			switch want := want.(type) {
			case string:
				if user != want || err != nil {
					t.Errorf("Ask = %q, %v, want %q", user, err, want)
				}
			case error:
				if user != "" || !errors.Is(err, want) {
					t.Errorf("Ask = %q, %v, want %v", user, err, want)
				}
			default:
				if user != "" || err == nil {
					t.Errorf("Ask = %q, %v, want an error", user, err)
				}
			}
		})
	}
}

// replyWith serves one connection.
func replyWith(t *testing.T, reply string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		conn.Read(make([]byte, 100))
		io.WriteString(conn, reply)
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestAskHeedsItsContext(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // never accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("had enough"))
	defer cancel()
	if user, err := Ask(ctx, l.Addr().(*net.TCPAddr).AddrPort(), Pair{1, 2}); err == nil || err.Error() != "had enough" {
		t.Errorf("Ask = %q, %v, want the context's cause", user, err)
	}
}

var pairPattern = regexp.MustCompile(`^[ \t]*([0-9]{1,5})[ \t]*,[ \t]*([0-9]{1,5})[ \t]*$`)

// FuzzParsePair compares with a regular expression, and checks that nothing but
// numbers is ever repeated in a reply.
func FuzzParsePair(f *testing.F) {
	for _, s := range []string{"6193, 23", " 1\t,\t2 ", "0,0", "65536,1", "1,2,3", "-1,1", "", ",", "1 2,3", "99999,99999", "1,2\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		server, client, pair, err := parsePair(line)
		for _, n := range []string{server, client} {
			if !regexp.MustCompile(`^[0-9]{1,5}$`).MatchString(n) {
				t.Fatalf("parsePair(%q) would have %q repeated", line, n)
			}
		}
		m := pairPattern.FindStringSubmatch(line)
		if m == nil {
			if server != "0" || client != "0" || err == nil {
				t.Fatalf("parsePair(%q) = %q, %q, %v, want an error", line, server, client, err)
			}
			return
		}
		a, _ := strconv.Atoi(m[1])
		b, _ := strconv.Atoi(m[2])
		valid := a >= 1 && a <= 65535 && b >= 1 && b <= 65535
		if server != m[1] || client != m[2] || (err == nil) != valid || valid && pair != (Pair{uint16(a), uint16(b)}) {
			t.Fatalf("parsePair(%q) = %q, %q, %v, %v, want %d, %d, valid %v", line, server, client, pair, err, a, b, valid)
		}
	})
}
