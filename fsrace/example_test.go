// SPDX-License-Identifier: MIT

package fsrace_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace"
)

// temp returns a new directory, and how to remove it.
func temp() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "fsrace-example-")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

func Example() {
	dir, remove := temp()
	defer remove()
	name := filepath.Join(dir, "wiki/start/comments/1")
	if err := fsrace.WriteFile(name, []byte("first!"), 0o644); err != nil {
		log.Fatal(err) // makes the directories, again if need be, and syncs them
	}
	os.Remove(name)
	removed, err := fsrace.RemoveEmptyParents(name, dir) // never fails a WriteFile
	fmt.Println(removed, err)
	// Output: 3 <nil>
}

func ExampleMkdirAll() {
	dir, remove := temp()
	defer remove()
	if err := fsrace.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755); err != nil {
		log.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
	err := fsrace.MkdirAll(filepath.Join(dir, "file/x/y"), 0o755)
	if why, ok := errors.AsType[*fsrace.MkdirError](err); ok {
		fmt.Printf("%v: there is %s; attempts: %d\n", why.Err, why.Found, why.Attempts)
	}
	// Output: not a directory: there is a regular file; attempts: 1
}

func ExampleMkdirAllIn() {
	dir, remove := temp()
	defer remove()
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()
	fmt.Println(fsrace.MkdirAllIn(root, "uploads/2026", 0o755))
	fmt.Println(fsrace.MkdirAllIn(root, "../elsewhere", 0o755) != nil)
	// Output:
	// <nil>
	// true
}

func ExampleCreate() {
	dir, remove := temp()
	defer remove()
	name := filepath.Join(dir, "mirror/pool/latest")
	err := fsrace.Create(name, func(name string) error {
		return os.Symlink("v2", name) // may run again, if the directory was removed
	})
	target, _ := os.Readlink(name)
	fmt.Println(target, err)
	// Output: v2 <nil>
}

func ExampleOpenFile() {
	dir, remove := temp()
	defer remove()
	f, err := fsrace.OpenFile(filepath.Join(dir, "logs/today/access"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, "GET /")
	fmt.Println(filepath.Base(f.Name()))
	// Output: access
}

func ExampleRemoveEmptyParents() {
	dir, remove := temp()
	defer remove()
	fsrace.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755)
	os.WriteFile(filepath.Join(dir, "a/in-use"), nil, 0o644)
	fmt.Println(fsrace.RemoveEmptyParents(filepath.Join(dir, "a/b/c/gone"), dir))
	// Output: 2 <nil>
}

func ExampleWriteFile() {
	dir, remove := temp()
	defer remove()
	name := filepath.Join(dir, "etc/service.conf")
	if err := fsrace.WriteFile(name, []byte("on = true\n"), 0o644); errors.Is(err, fsrace.ErrNotDurable) {
		log.Print(err) // it is there, but a crash may undo it
	} else if err != nil {
		log.Fatal(err)
	}
	b, _ := os.ReadFile(name)
	fmt.Printf("%s", b)
	// Output: on = true
}

func ExampleNewPending() {
	dir, remove := temp()
	defer remove()
	p, err := fsrace.NewPending(filepath.Join(dir, "report.txt"), 0o644)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Discard() // does nothing after Commit
	for i := range 3 {
		fmt.Fprintln(p, "line", i)
	}
	fmt.Println(p.Commit())
	// Output: <nil>
}

func ExamplePending_CommitNew() {
	dir, remove := temp()
	defer remove()
	for _, who := range []string{"first", "second"} {
		p, err := fsrace.NewPending(filepath.Join(dir, "claim"), 0o644)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprint(p, who)
		if err := p.CommitNew(); errors.Is(err, fs.ErrExist) {
			fmt.Println(who, "was too late")
		}
	}
	// Output: second was too late
}

func ExampleTryAcquire() {
	dir, remove := temp()
	defer remove()
	name := filepath.Join(dir, "run/service.lock")
	lock, err := fsrace.TryAcquire(name)
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Release()
	_, err = fsrace.TryAcquire(name)
	if held, ok := errors.AsType[*fsrace.HeldError](err); ok {
		fmt.Println("held by this process:", held.Owner.PID == os.Getpid())
	}
	// Output: held by this process: true
}

func ExampleAcquire() {
	dir, remove := temp()
	defer remove()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lock, err := fsrace.Acquire(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lock.Check(), lock.Release())
	// Output: <nil> <nil>
}

func ExampleHolder() {
	dir, remove := temp()
	defer remove()
	name := filepath.Join(dir, "lock")
	lock, err := fsrace.TryAcquire(name)
	if err != nil {
		log.Fatal(err)
	}
	owner, err := fsrace.Holder(name)
	fmt.Println(owner == lock.Owner(), err)
	lock.Release()
	_, err = fsrace.Holder(name)
	fmt.Println(errors.Is(err, fsrace.ErrNotHeld))
	// Output:
	// true <nil>
	// true
}

func ExampleParseOwner() {
	owner, err := fsrace.ParseOwner("label=xml2json,host=web1,pid=4711,start=88731,boot=5b1c9a52,ns=4026531836,since=20261121T080000.000000Z,nonce=c0ffee")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(owner.Label, owner.PID, owner.Since.Format(time.DateTime))
	fmt.Println(owner.Liveness()) // of another boot, so nobody can tell
	// Output:
	// xml2json 4711 2026-11-21 08:00:00
	// unknown
}

func ExampleSelf() {
	me := fsrace.Self("worker")
	fmt.Println(me.Label, me.PID == os.Getpid())
	// Output: worker true
}
