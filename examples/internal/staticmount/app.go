// SPDX-License-Identifier: MIT

// Package staticmount is a web application whose static files are an app mounted
// inside the app, and whose pages need a database. It leaks, or does not, one
// descriptor per served file, depending on what wrapping a file does.
package staticmount

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// A cast is the last step of an app: it hands the file it is about to send to the
// server's file wrapper.
type cast func(http.File) (http.File, error)

// A castFS casts every file that is opened in it.
type castFS struct {
	http.FileSystem
	cast cast
}

func (c castFS) Open(name string) (http.File, error) {
	f, err := c.FileSystem.Open(name)
	if err != nil {
		return nil, err
	}
	w, err := c.cast(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return w, nil
}

// A monitoredDir opens through fdguard, so that /debug/fdguard can name what is open:
// the story's MonitoredFile. By itself that neither causes nor cures anything.
type monitoredDir string

func (d monitoredDir) Open(name string) (http.File, error) {
	f, err := fdguard.Open(filepath.Join(string(d), filepath.FromSlash(path.Clean("/"+name))))
	if err != nil {
		return nil, err
	}
	return f, nil
}

// newApp returns the whole application: static files below /static/, a page that asks
// the database at dbAddr at /report, and /debug/fdguard.
func newApp(dir, dbAddr string, c cast) http.Handler {
	static := castFS{monitoredDir(dir), c} // the mounted app casts its result
	mounted := castFS{static, c}           // and so does the app it is mounted in

	mux := http.NewServeMux()
	mux.Handle("/static/", http.StripPrefix("/static", http.FileServer(mounted)))
	mux.Handle("/debug/fdguard", fdguard.Handler())
	mux.HandleFunc("/report", func(w http.ResponseWriter, r *http.Request) {
		answer, err := query(r.Context(), dbAddr)
		if err != nil {
			http.Error(w, "database: "+err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, answer)
	})
	return mux
}

// query is the other client: a database driver, which knows nothing about files.
func query(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
