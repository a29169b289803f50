// SPDX-License-Identifier: MIT

package identd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// perlClient is a server that asks who its client is, by Debian's libnet-ident-perl. The
// port of identd, which the module takes from /etc/services, is its argument.
const perlClient = `
BEGIN { my $port = shift; *CORE::GLOBAL::getservbyname = sub { (undef, undef, $port) } }
use strict; use Net::Ident; use IO::Socket::INET;
$| = 1;
my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $!";
print $l->sockport, "\n";
while (my $c = $l->accept) {
	<STDIN>; # until the client has done what it wants done first
	my ($user, $opsys, $error) = Net::Ident::lookup($c, 20);
	print join('|', map { $_ // '' } $user, $opsys, $error), "\n";
}
`

// TestPerlClient has Net::Ident ask about a client that has half-closed.
func TestPerlClient(t *testing.T) {
	t.Parallel()
	if err := exec.Command("perl", "-MNet::Ident", "-e", "1").Run(); err != nil {
		t.Skipf("needs perl with Net::Ident (Debian: libnet-ident-perl): %v", err)
	}
	_, me := new(Server).user(uint32(os.Geteuid()))
	for name, tc := range map[string]struct {
		lookup LookupFunc
		want   string
	}{
		"fixed": {AnyState, me + "|"},
		"naive": {EstablishedOnly, "|ERROR|NO-USER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, port, _ := net.SplitHostPort(serve(t, &Server{Lookup: tc.lookup}))
			cmd := exec.CommandContext(t.Context(), "perl", "-e", perlClient, port)
			cmd.Stderr = os.Stderr
			stdin, err1 := cmd.StdinPipe()
			stdout, err2 := cmd.StdoutPipe()
			if err := errors.Join(err1, err2, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			lines := bufio.NewScanner(stdout)
			lines.Scan()
			c, err := newClient("127.0.0.1:"+lines.Text(), true)
			if err != nil {
				t.Fatal(err)
			}
			defer c.conn.Close()
			fmt.Fprintln(stdin, "go")
			lines.Scan()
			if got := lines.Text(); !strings.HasPrefix(got, tc.want) {
				t.Errorf("Net::Ident says %q, want %q", got, tc.want)
			}
		})
	}
}

// TestLibident has Debian's in.identtestd, which knows no port but 113, in a network
// namespace where that one is free. It is a server under inetd: its client is told
// what identd said of it.
func TestLibident(t *testing.T) {
	t.Parallel()
	tester, err := exec.LookPath("/usr/sbin/in.identtestd")
	if err != nil {
		t.Skipf("needs in.identtestd (Debian: libident): %v", err)
	}
	for name, want := range map[string]string{"fixed": "Identifier... root\r\n", "naive": "NO-USER"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(os.Environ(), libidentRole+"="+name, "TESTER="+tester)
			cmd.Stdout, cmd.Stderr = &out, &out
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
			if os.Geteuid() != 0 {
				cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
			}
			err = cmd.Start()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) {
				t.Skipf("needs network namespaces: %v", err)
			}
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil || !strings.Contains(out.String(), want) {
				t.Errorf("in.identtestd: %v, says %s, want %q", err, out.String(), want)
			}
		})
	}
}

const libidentRole = "SYSPRIM_TEST_LIBIDENT"

func init() { helpers[libidentRole] = libident }

// libident is the process in the namespace: identd, a client that half-closes at once,
// and the tester that it connects to.
func libident(which string) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	s := Server{Lookup: map[string]LookupFunc{"fixed": AnyState, "naive": EstablishedOnly}[which]}
	identd, err := net.Listen("tcp", "127.0.0.1:113")
	if err != nil {
		return err
	}
	go s.Serve(context.Background(), identd)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c, err := newClient(l.Addr().String(), true)
	if err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	conn.Close()
	cmd := exec.Command(os.Getenv("TESTER"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = socket, socket, socket
	if err := cmd.Start(); err != nil {
		return err
	}
	socket.Close()
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.Copy(os.Stdout, c.conn)
	if errors.Is(err, unix.ECONNRESET) { // it does not read the job
		err = nil
	}
	return errors.Join(err, cmd.Wait())
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
