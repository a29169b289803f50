// SPDX-License-Identifier: MIT

// Package comments is a wiki's comment store: each comment is a file in a
// directory hierarchy that mirrors the pages' paths, made at the first comment and
// removed with the last.
package comments

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"path/filepath"
	"strings"
)

// A Store keeps comments by page and by an id that is unique on its page.
type Store interface {
	Post(page, id string, text []byte) error
	Delete(page, id string) error
	// Prune removes the pages that have no comments.
	Prune() error
}

const maxComment = 64 << 10

// Handler serves store, which keeps its files below dir:
//
//	PUT    /page/path/id   posts a comment
//	GET    /page/path/id   reads it
//	DELETE /page/path/id   removes it, and with the last one the page
func Handler(store Store, dir string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /", func(w http.ResponseWriter, r *http.Request) {
		page, id, ok := split(r.URL.Path)
		if !ok {
			http.Error(w, "want /page/path/id", http.StatusBadRequest)
			return
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxComment))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		respond(w, store.Post(page, id, text), http.StatusCreated)
	})
	mux.HandleFunc("DELETE /", func(w http.ResponseWriter, r *http.Request) {
		page, id, ok := split(r.URL.Path)
		if !ok {
			http.Error(w, "want /page/path/id", http.StatusBadRequest)
			return
		}
		respond(w, store.Delete(page, id), http.StatusNoContent)
	})
	mux.Handle("GET /", http.FileServer(http.Dir(dir)))
	return mux
}

// split takes only clean local paths without hidden components.
func split(urlPath string) (page, id string, ok bool) {
	name := strings.TrimPrefix(urlPath, "/")
	page, id = path.Split(name)
	page = strings.TrimSuffix(page, "/")
	ok = page != "" && id != "" && filepath.IsLocal(name) && path.Clean(name) == name && !strings.Contains("/"+name, "/.")
	return page, id, ok
}

func respond(w http.ResponseWriter, err error, success int) {
	switch {
	case err == nil:
		w.WriteHeader(success)
	case errors.Is(err, fs.ErrExist):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, fs.ErrNotExist) && success == http.StatusNoContent:
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, fmt.Sprint("comment not stored: ", err), http.StatusInternalServerError)
	}
}
