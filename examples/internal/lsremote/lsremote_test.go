// SPDX-License-Identifier: MIT

package lsremote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(fdguardtest.Main(m)) }

func progress(t *testing.T) func(string, ...any) {
	return func(format string, args ...any) { t.Logf(format, args...) }
}

func newStage(t *testing.T) *repository {
	t.Helper()
	repo, done, err := stage(t.Context(), progress(t))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	return repo
}

func TestListingStraddlesThePipe(t *testing.T) {
	t.Parallel()
	repo := newStage(t)
	for _, want := range []int{before, after} {
		out, err := list(t.Context(), repo.lsRemote())
		if err != nil {
			t.Fatal(err)
		}
		if len(out) != want {
			t.Errorf("the listing has %d bytes, want %d", len(out), want)
		}
		if want == before {
			if err := repo.grow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestNaiveProgramHangs(t *testing.T) {
	t.Parallel()
	newStage(t) // skips where there is no git
	e, err := naive(t.Context(), progress(t))
	if err != nil {
		t.Fatal(err)
	}
	if !e.Confirmed || e.Facts["blocked_in"] == "" {
		t.Errorf("the naive program did not hang: %+v", e)
	}
	t.Log(e.Summary)
}

func TestFixedProgramLists(t *testing.T) {
	t.Parallel()
	newStage(t)
	e, err := fixed(t.Context(), progress(t))
	if err != nil {
		t.Fatal(err)
	}
	if !e.Confirmed {
		t.Errorf("the listing is not whole: %+v", e)
	}
	t.Log(e.Summary)
}

func TestNaiveProgramEndsWithItsContext(t *testing.T) {
	t.Parallel()
	newStage(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the visitor left")
	_, err := naive(ctx, func(format string, args ...any) {
		if strings.HasPrefix(fmt.Sprintf(format, args...), "one more branch") {
			cancel(why)
		}
	})
	if !errors.Is(err, why) {
		t.Errorf("naive = %v, want %v", err, why)
	}
}

func TestListNamesAMissingRepository(t *testing.T) {
	t.Parallel()
	newStage(t)
	missing := t.TempDir() + string(os.PathSeparator) + "missing"
	if _, err := List(t.Context(), missing); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("List = %v, want an error that names the repository", err)
	}
}
