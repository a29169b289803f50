// SPDX-License-Identifier: MIT

package fdguard_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// temp makes a file to open.
func temp(content string) (name string, remove func()) {
	dir, err := os.MkdirTemp("", "fdguard")
	if err != nil {
		log.Fatal(err)
	}
	name = filepath.Join(dir, "greeting.txt")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		log.Fatal(err)
	}
	return name, func() { os.RemoveAll(dir) }
}

func Example() {
	name, remove := temp("hello")
	defer remove()

	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	inner, _ := fdguard.Wrap(f)     // the mounted application wraps,
	outer, _ := fdguard.Wrap(inner) // the one around it wraps again,
	outer.Close()                   // and the server closes once
	fmt.Println(inner == f, outer == f, fdguard.Snapshot().Tracked)
	// Output: true true 0
}

func ExampleOpen() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	fmt.Printf("%s\n", text)
	// Output: hello
}

func ExampleOpenFile() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	n, _ := f.WriteString("bye")
	info, _ := f.Stat()
	fmt.Println(n, info.Size(), f.Sync())
	// Output: 3 3 <nil>
}

func ExampleWrap() {
	name, remove := temp("hello")
	defer remove()
	o, err := os.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	f, _ := fdguard.Wrap(o)                                // owns o from now on
	again, _ := fdguard.Wrap(o)                            // the same
	through, _ := fdguard.Wrap(struct{ *fdguard.File }{f}) // and through a wrapper
	fmt.Println(f == again, f == through)
	f.Close()
	_, err = fdguard.Wrap(o)
	fmt.Println(errors.Is(err, fs.ErrClosed))
	// Output:
	// true true
	// true
}

func ExampleAdopt() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	_ = f.Do(func(fd uintptr) error {
		_, err := fdguard.Adopt(fd, "mine now")
		owned, ok := errors.AsType[*fdguard.OwnedError](err)
		fmt.Println(ok && owned.Name == name)
		return nil
	})
	// Output: true
}

func ExampleFile_Clone() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	g, err := f.Clone()
	if err != nil {
		log.Fatal(err)
	}
	f.Close()
	f.Close() // takes nothing from g
	text, err := io.ReadAll(g)
	fmt.Printf("%s %v\n", text, err)
	fmt.Println(g.Close())
	// Output:
	// hello <nil>
	// <nil>
}

func ExampleFile_Detach() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	g, _ := f.Clone()
	_, err = f.Detach()
	fmt.Println(errors.Is(err, fdguard.ErrInUse))
	g.Close()
	o, err := f.Detach() // an *os.File, and ours to close
	fmt.Println(err, o.Close())
	// Output:
	// true
	// <nil> <nil>
}

func ExampleFile_Do() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	err = f.Do(func(fd uintptr) error {
		f.Close() // waits for us before it closes fd
		fmt.Println(fd >= 3)
		return nil
	})
	fmt.Println(err)
	fmt.Println(errors.Is(f.Do(nil), fs.ErrClosed))
	// Output:
	// true
	// <nil>
	// true
}

func ExampleSnapshot() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for _, g := range fdguard.Snapshot().ByName {
		fmt.Println(filepath.Base(g.Name), g.Handles, g.Stacks)
	}
	// Output: greeting.txt 1 1
}

func ExampleHandles() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for _, h := range fdguard.Handles() {
		fmt.Println(filepath.Base(h.Name), h.Ops, h.Closing, strings.HasSuffix(h.Stack[0].Func, "ExampleHandles"))
	}
	// Output: greeting.txt 0 false true
}

func ExampleOnLeak() {
	name, remove := temp("hello")
	defer remove()
	fdguard.SetLevel(fdguard.Paranoid)
	defer fdguard.SetLevel(fdguard.Stacks)
	fdguard.OnLeak(func(l fdguard.Leak) { fmt.Println(l.Kind, filepath.Base(l.Name)) })
	defer fdguard.OnLeak(nil)

	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	f.Close()
	f.Close()
	f.Stat()
	// Output:
	// DoubleClose greeting.txt
	// UseAfterClose greeting.txt
}

func ExampleHandler() {
	srv := httptest.NewServer(fdguard.Handler()) // usually mounted at /debug/fdguard
	defer srv.Close()
	res, err := http.Get(srv.URL + "?format=json")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	fmt.Println(res.Status, res.Header.Get("Content-Type"))
	// Output: 200 OK application/json
}

func ExampleVar() {
	fmt.Println(strings.HasPrefix(fdguard.Var{}.String(), `{"Tracked":0,`))
	// Output: true
}

func ExampleFile_SyscallConn() {
	name, remove := temp("hello")
	defer remove()
	f, err := fdguard.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		g, err := f.Clone() // its own offset, and sendfile all the same
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer g.Close()
		http.ServeContent(w, req, name, time.Time{}, g)
	}))
	defer srv.Close()
	res, err := http.Get(srv.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Printf("%s\n", body)
	// Output: hello
}
