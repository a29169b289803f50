// SPDX-License-Identifier: MIT

package identd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-b08dbae9/sysprim/tcpdrain"
	"github.com/seed-b08dbae9/sysprim/tcpdrain/sockowner"
)

// A LookupFunc says who owns the end of a connection that has local as its own
// address: AnyState or EstablishedOnly.
type LookupFunc func(local, remote netip.AddrPort) (sockowner.Owner, error)

// A Server answers ident queries. Its zero value is ready to use.
type Server struct {
	Lookup  LookupFunc              // nil: AnyState
	Name    func(uid uint32) string // a user's name, or "" for none. nil: as in the password file
	Hidden  map[string]bool         // users who do not want to be told
	Idle    time.Duration           // for each query to arrive whole. 0: 60 s
	Queries int                     // on one connection. 0: 100
	Conns   int                     // at a time; one more is closed at once. 0: 64
	Logger  *slog.Logger            // nil: silent
}

// Serve answers on l until ctx is done. It closes l and every connection before it
// returns, which it does with nil after ctx.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()

	places := make(chan struct{}, or(s.Conns, 64))
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // out of descriptors, most likely: wait for some to come back
			s.log().Warn("identd: accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case places <- struct{}{}:
			wg.Go(func() {
				defer func() { <-places }()
				s.serveConn(ctx, conn)
			})
		default:
			conn.Close()
		}
	}
}

// serveConn answers one query after the other until the client has no more. Half of
// the clients half-close right after the question; the answer is sent all the same.
// Others still send when they have had theirs: closing with that unread would reset
// the connection, and take the answer with it, so they get a second to end.
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		tcpdrain.CloseGraceful(ctx, conn) // a client that does not end loses what it has not read
	}()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	in := bufio.NewReaderSize(conn, maxLine)
	for range or(s.Queries, 100) {
		conn.SetDeadline(time.Now().Add(or(s.Idle, time.Minute)))
		line, err := in.ReadSlice('\n')
		if err != nil && (err != io.EOF || len(line) == 0) { // the last line may lack its end
			if errors.Is(err, bufio.ErrBufferFull) {
				s.log().Info("identd: query too long", "from", conn.RemoteAddr())
				fmt.Fprintf(conn, "0, 0 : ERROR : %v\r\n", ErrUnknown)
			}
			return
		}
		if _, err := io.WriteString(conn, s.answer(conn, strings.TrimRight(string(line), "\r\n"))); err != nil {
			return
		}
	}
}

// answer is the reply to one query, end of line included.
func (s *Server) answer(conn net.Conn, query string) string {
	onServer, onClient, pair, err := parsePair(query)
	system, name := "", ""
	if err == nil {
		system, name, err = s.who(conn, pair)
	}
	if err != nil {
		s.log().Info("identd: no answer", "query", query, "from", conn.RemoteAddr(), "err", err)
		return fmt.Sprintf("%s, %s : ERROR : %v\r\n", onServer, onClient, reason(err))
	}
	s.log().Info("identd: answer", "query", query, "from", conn.RemoteAddr(), "user", name)
	return fmt.Sprintf("%s, %s : USERID : %s : %s\r\n", onServer, onClient, system, name)
}

// who owns the connection of the pair between the two machines that conn connects.
// Nothing else can be asked about (RFC 1413 §3).
func (s *Server) who(conn net.Conn, pair Pair) (system, name string, err error) {
	here, ok1 := conn.LocalAddr().(*net.TCPAddr)
	there, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return "", "", fmt.Errorf("query over %s", conn.LocalAddr().Network())
	}
	lookup := s.Lookup
	if lookup == nil {
		lookup = AnyState
	}
	owner, err := lookup(
		netip.AddrPortFrom(here.AddrPort().Addr(), pair.Server),
		netip.AddrPortFrom(there.AddrPort().Addr(), pair.Client))
	if err != nil {
		return "", "", err
	}
	if system, name = s.user(owner.UID); s.Hidden[name] || s.Hidden[number(owner.UID)] {
		return "", "", ErrHiddenUser
	}
	return system, name, nil
}

// user is how a reply names uid: on UNIX by name, or else by its number, which RFC 1413
// calls OTHER.
func (s *Server) user(uid uint32) (system, name string) {
	if s.Name != nil {
		name = s.Name(uid)
	} else if u, err := user.LookupId(number(uid)); err == nil {
		name = u.Username
	}
	if !printable(name) {
		return "OTHER", number(uid)
	}
	return "UNIX", name
}

func number(uid uint32) string { return strconv.FormatUint(uint64(uid), 10) }

// printable reports whether name is 1 to 512 characters of US-ASCII, the character
// set of a reply that names none.
func printable(name string) bool {
	return len(name) >= 1 && len(name) <= 512 &&
		strings.IndexFunc(name, func(r rune) bool { return r < '!' || r > '~' }) < 0
}

// reason is the reply's word for err.
func reason(err error) error {
	for _, known := range []error{ErrInvalidPort, ErrHiddenUser, ErrNoUser} {
		if errors.Is(err, known) {
			return known
		}
	}
	if errors.Is(err, sockowner.ErrNotFound) || errors.Is(err, sockowner.ErrNoOwner) {
		return ErrNoUser
	}
	return ErrUnknown
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

// or is v, or if that is not positive, def.
func or[T int | time.Duration](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}
