// SPDX-License-Identifier: MIT

package opencache

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-b08dbae9/sysprim/fdguard"
	"github.com/seed-b08dbae9/sysprim/fdguard/fdguardtest"
)

const helperEnv = "OPENCACHE_TEST_HELPER"

// helpers are what this binary does instead of the tests when one of them starts it.
// A helper fails by printing why and exiting with 1.
var helpers = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		if err := helpers[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(fdguardtest.Main(m))
}

// helper returns a command that runs one of the helpers in a process of its own.
func helper(name string, args ...string) *exec.Cmd {
	if helpers[name] == nil {
		panic("no helper " + name)
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	return cmd
}

func runHelper(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := helper(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// newDir makes a directory with these files.
func newDir(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace puts a new file under the name, as rename(2) does.
func replace(t testing.TB, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, root string, cfg Config) *Cache {
	t.Helper()
	c, err := New(root, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustOpen(t testing.TB, c *Cache, name string) *fdguard.File {
	t.Helper()
	f, err := c.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// expire lets Valid pass.
func expire(c *Cache) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		e.checked = time.Time{}
	}
}

// content opens, reads and closes.
func content(c *Cache, name string) (string, error) {
	f, err := c.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

func wantContent(t testing.TB, c *Cache, name, want string) {
	t.Helper()
	if got, err := content(c, name); err != nil || got != want {
		t.Errorf("%s = %q, %v; want %q", name, got, err, want)
	}
}

// server serves a file system over real HTTP until the test ends.
func server(t testing.TB, fsys http.FileSystem) *httptest.Server {
	srv := httptest.NewServer(http.FileServer(fsys))
	t.Cleanup(srv.Close)
	return srv
}

// get returns a whole reply. Its error is the body's, too.
func get(client *http.Client, url string) (res *http.Response, body []byte, err error) {
	res, err = client.Get(url)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	return res, b.Bytes(), err
}
