// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	// swap exchanges each directory on the way to args[0] + "/a/b/c" for the links beside
	// it, in one call, so that there is never nothing in between. It goes by descriptors,
	// or it would follow the links itself and move what is outside.
	helpers["swap"] = func(args []string) {
		var at []int
		for _, dir := range []string{args[0], args[0] + "/a", args[0] + "/a/b"} {
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				fatal(err)
			}
			at = append(at, fd)
		}
		fmt.Println("ready")
		os.Stdin.Read(make([]byte, 1)) // all are
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		for n := 0; ; n++ {
			for i, name := range []string{"a", "b", "c"} {
				for range 2 { // there and back
					unix.Renameat2(at[i], fmt.Sprint("link", n%len(waysOut)), at[i], name, unix.RENAME_EXCHANGE)
				}
			}
		}
	}
}

// waysOut are the targets of the links: outside, by name or by way of others, and inside.
var waysOut = []string{"../outside", "../../outside", "../../../outside", "%s", "c/../../../../outside", "link0", "link1", "."}

// Another process swaps every directory on the way for links that lead out, directly
// and by way of others, or back in. Nothing is made where they lead.
func TestNothingIsMadeOutsideWhileAnotherProcessSwaps(t *testing.T) {
	t.Parallel()
	eachFS(t, func(t *testing.T, dir string) {
		inside, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
		for _, name := range []string{filepath.Join(inside, "a/b/c"), filepath.Join(outside, "b/c")} {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, in := range []string{"", "a", "a/b"} {
			for i, target := range waysOut {
				target = strings.Replace(target, "%s", outside, 1)
				if err := os.Symlink(target, filepath.Join(inside, in, fmt.Sprint("link", i))); err != nil {
					t.Skip(err)
				}
			}
		}
		root := openRoot(t, inside)
		var begin []io.Writer
		for range 2 {
			cmd := helper(t, "swap", inside)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer stdin.Close()
			if _, err := fmt.Fscan(stdout, new(string)); err != nil {
				t.Fatal(err)
			}
			begin = append(begin, stdin)
		}
		if _, err := io.MultiWriter(begin...).Write([]byte{'\n'}); err != nil {
			t.Fatal(err)
		}
		var made, refused atomic.Int64
		var making sync.WaitGroup
		start := time.Now()
		for i := range 2 {
			making.Go(func() {
				for time.Since(start) < 700*time.Millisecond ||
					time.Since(start) < 20*time.Second && (made.Load() == 0 || refused.Load() == 0) {
					name := fmt.Sprintf("a/b/c/d%d/e", i)
					switch err := MkdirAllIn(root, name, 0o755); {
					case err == nil:
						made.Add(1)
					case errors.Is(err, syscall.ENOENT):
						t.Error(err)
						return
					default:
						refused.Add(1)
					}
					root.RemoveAll(filepath.Dir(name))
				}
			})
		}
		making.Wait()
		t.Logf("made %d, refused %d", made.Load(), refused.Load())
		err := filepath.WalkDir(outside, func(path string, _ os.DirEntry, err error) error {
			if rel, _ := filepath.Rel(outside, path); rel != "." && rel != "b" && rel != "b/c" {
				t.Errorf("outside there is %s", rel)
			}
			return err
		})
		if err != nil || len(list(t, dir)) != 2 {
			t.Errorf("%v; beside the root there is %q", err, list(t, dir))
		}
		if made.Load() == 0 || refused.Load() == 0 {
			t.Error("the swappers did not do their work")
		}
	})
}
