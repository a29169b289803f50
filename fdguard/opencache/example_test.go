// SPDX-License-Identifier: MIT

package opencache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"time"

	"github.com/seed-b08dbae9/sysprim/fdguard/opencache"
)

func ExampleCache_FileSystem() {
	cache, err := opencache.New("testdata/www", opencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	handler := http.FileServer(cache.FileSystem())

	for range 3 {
		reply := httptest.NewRecorder()
		handler.ServeHTTP(reply, httptest.NewRequest("GET", "/hello.txt", nil))
		fmt.Println(reply.Code, reply.Body)
	}
	fmt.Println("opened", cache.Stats().Misses, "time")
	// Output:
	// 200 hello
	// 200 hello
	// 200 hello
	// opened 1 time
}

func ExampleNew() {
	cache, err := opencache.New("testdata/www", opencache.Config{
		Max:      200,
		Valid:    10 * time.Second, // a deploy is seen after ten seconds
		Inactive: time.Minute,
		Exclude:  func(name string) bool { return filepath.Ext(name) == ".db" },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	_, err = cache.Open("users.db")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output: true
}

func ExampleCache_Open() {
	cache, err := opencache.New("testdata/www", opencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	a, err := cache.Open("hello.txt")
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	b, err := cache.Open("/hello.txt") // the same descriptor, another offset
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	fmt.Println(a.Seek(3, io.SeekStart))
	text, err := io.ReadAll(b)
	fmt.Printf("%q %v\n", text, err)
	// Output:
	// 3 <nil>
	// "hello" <nil>
}

func ExampleCache_OpenContext() {
	cache, err := opencache.New("testdata/www", opencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("the client has left"))
	_, err = cache.OpenContext(ctx, "hello.txt")
	fmt.Println(err)
	// Output: open hello.txt: the client has left
}

func ExampleCache_FS() {
	cache, err := opencache.New("testdata/www", opencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	text, err := fs.ReadFile(cache.FS(), "hello.txt")
	fmt.Printf("%s %v\n", text, err)
	// Output: hello <nil>
}

func ExampleCache_Stats() {
	cache, err := opencache.New("testdata/www", opencache.Config{Valid: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	for range 10 {
		if f, err := cache.Open("hello.txt"); err == nil {
			f.Close()
		}
	}
	s := cache.Stats()
	fmt.Println(s.Kept, "kept,", s.Hits, "of 10 without a system call")
	// Output: 1 kept, 9 of 10 without a system call
}

func ExampleCache_Close() {
	cache, err := opencache.New("testdata/www", opencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	f, err := cache.Open("hello.txt")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	cache.Close()

	text, err := io.ReadAll(f) // a file in use stays open
	fmt.Printf("%s %v\n", text, err)
	_, err = cache.Open("hello.txt")
	fmt.Println(errors.Is(err, fs.ErrClosed))
	// Output:
	// hello <nil>
	// true
}
