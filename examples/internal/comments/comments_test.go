// SPDX-License-Identifier: MIT

package comments_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/examples/internal/comments"
	"github.com/seed-b08dbae9/sysprim/examples/internal/incident"
)

func TestMain(m *testing.M) {
	incident.Dispatch(comments.Incident)
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

func TestIncident(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]incident.Step{"naive": comments.Incident.Naive, "fixed": comments.Incident.Fixed} {
		t.Run(name, func(t *testing.T) {
			e, err := step(t.Context(), t.Logf)
			t.Log(e.Summary)
			if err != nil || !e.Confirmed || len(e.Summary) > 72 {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
	if n := len(comments.Incident.Title); n > 60 {
		t.Errorf("the title has %d characters", n)
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := comments.Handler(comments.Fixed{Dir: dir}, dir)
	for _, tc := range []struct {
		method, path string
		want         int
	}{
		{"PUT", "/a/b/1", http.StatusCreated},
		{"PUT", "/a/b/1", http.StatusConflict},
		{"GET", "/a/b/1", http.StatusOK},
		{"DELETE", "/a/b/1", http.StatusNoContent},
		{"DELETE", "/a/b/1", http.StatusNotFound},
		{"PUT", "/1", http.StatusBadRequest},
		{"PUT", "/a/.hidden/1", http.StatusBadRequest},
		{"PUT", "/a/", http.StatusBadRequest},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tc.method, tc.path, strings.NewReader("text")))
		if w.Code != tc.want {
			t.Errorf("%s %s = %d %s, want %d", tc.method, tc.path, w.Code, w.Body, tc.want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
