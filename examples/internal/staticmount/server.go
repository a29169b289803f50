// SPDX-License-Identifier: MIT

package staticmount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// castNamed returns one of the two ways to wrap a file, or nil.
func castNamed(name string) cast {
	switch name {
	case "naive":
		return new(counter).wrap
	case "fixed":
		return guard
	}
	return nil
}

// serve is the role "server": the application in a process of its own, under a small
// descriptor limit. It prints its address and ends with its standard input.
//
//	server naive|fixed LIMIT DIR DATABASE
func serve(args []string) int {
	logger := log.New(os.Stderr, "server: ", 0)
	if len(args) != 4 || castNamed(args[0]) == nil {
		logger.Print("usage: naive|fixed LIMIT DIR DATABASE")
		return 2
	}
	limit, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		logger.Print(err)
		return 2
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		logger.Print(err)
		return 1
	}
	if err := setLimit(limit); err != nil {
		logger.Print(err)
		return 1
	}
	fmt.Println(listener.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server := &http.Server{
		Handler:           newApp(args[2], args[3], castNamed(args[0])),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // the accept errors of the naive run
	}
	logger.Print(server.Serve(listener))
	return 1
}

// Serve runs the application on l in this process, wrapping files how, "naive" or
// "fixed", until ctx is done: to look at /debug/fdguard while it happens.
func Serve(ctx context.Context, l net.Listener, how, dir, dbAddr string) error {
	c := castNamed(how)
	if c == nil {
		return fmt.Errorf("no way to wrap files is called %q: want naive or fixed", how)
	}
	server := &http.Server{Handler: newApp(dir, dbAddr, c), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// A Database answers every connection with one line and closes it.
type Database struct{ net.Listener }

// StartDatabase starts a database on loopback. Close stops it.
func StartDatabase() (*Database, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	db := &Database{l}
	go db.serve()
	return db, nil
}

func (db *Database) serve() {
	for {
		conn, err := db.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(conn, "42 rows")
		conn.Close()
	}
}
