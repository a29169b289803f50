// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/examples/internal/identd"
	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

func TestMain(m *testing.M) {
	incident.Dispatch(identd.Incident)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// TestProgram asks the program about the very connection that the question comes by,
// after half-closing it: the owner is who runs the test, or as it happened, nobody.
func TestProgram(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("owners are found on Linux only")
	}
	uid := fmt.Sprint(os.Getuid())
	for name, tc := range map[string]struct{ args, want string }{
		"fixed":  {"", ` : USERID : (UNIX|OTHER) : [!-~]+\r\n$`},
		"naive":  {"-established-only", ` : ERROR : NO-USER\r\n$`},
		"hidden": {"-hide nobody-else," + uid, ` : ERROR : HIDDEN-USER\r\n$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			logs, log := io.Pipe()
			stopped := make(chan error, 1)
			go func() {
				err := run(ctx, append(strings.Fields(tc.args), "-listen", "127.0.0.1:0"), log)
				log.Close()
				stopped <- err
			}()
			lines := bufio.NewScanner(logs)
			lines.Scan()
			found := regexp.MustCompile(`addr=(\S+)`).FindStringSubmatch(lines.Text())
			if found == nil {
				t.Fatalf("first line %q names no address", lines.Text())
			}
			go io.Copy(io.Discard, logs)
			addr := netip.MustParseAddrPort(found[1])

			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprintf(conn, "%d , %d", conn.LocalAddr().(*net.TCPAddr).Port, addr.Port())
			conn.(*net.TCPConn).CloseWrite()
			reply, err := io.ReadAll(conn)
			if err != nil || !regexp.MustCompile(tc.want).Match(reply) {
				t.Errorf("reply %q, %v, want %s", reply, err, tc.want)
			}
			conn.Close()
			cancel()
			if err := <-stopped; err != nil {
				t.Errorf("run = %v", err)
			}
		})
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-nosuchflag"}, {"extra"}, {"-listen", "no address"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("run %q = nil, want an error", args)
		}
	}
}
