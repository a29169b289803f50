// SPDX-License-Identifier: MIT

package jobspool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/seed-b08dbae9/sysprim/fsrace/spool"
)

// The processes of the story. Each ends when its standard input does, so none
// outlives the one that started it.

var roles = map[string]func(args []string) int{
	"receive": role(func(ctx context.Context, args []string) error {
		return Receive(ctx, args[0], args[1], "127.0.0.1:0")
	}),
	"convert": role(func(ctx context.Context, args []string) error { return Convert(ctx, args[0], args[1]) }),
	"submit":  role(func(ctx context.Context, args []string) error { return Submit(ctx, args[0], args[1], args[2]) }),
	"naive-receive": role(func(ctx context.Context, args []string) error {
		return listen(ctx, "127.0.0.1:0", naiveStore(args[0]))
	}),
	"naive-convert": role(func(ctx context.Context, args []string) error {
		ready()
		naiveConvert(ctx, args[0])
		return nil
	}),
	"naive-submit": role(func(ctx context.Context, args []string) error {
		ready()
		naiveSubmit(ctx, args[0], cluster(args[2]))
		return nil
	}),
}

func role(run func(ctx context.Context, args []string) error) func([]string) int {
	return func(args []string) int {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		if err := run(ctx, args); err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
}

// Receive takes messages at addr and puts them into base/xml until ctx is done.
// It prints the address that it listens at.
func Receive(ctx context.Context, base, label, addr string) error {
	out, err := spool.Open(filepath.Join(base, "xml"), config(label))
	if err != nil {
		return err
	}
	defer out.Close()
	return listen(ctx, addr, store(out))
}

func listen(ctx context.Context, addr string, store func(Message) error) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	fmt.Println(ln.Addr())
	return serve(ctx, ln, store)
}
