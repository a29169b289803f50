// SPDX-License-Identifier: MIT

package jobspool

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-b08dbae9/sysprim/fsrace/spool"
)

// The cure: the directories between the stages are spools. Whoever takes a job
// claims it by name, whoever cannot do the work gives it back, and what a dead
// instance held goes to the others.

// config is that of every instance. The lease is for hosts that cannot be proved
// dead; those of this host are, at once.
func config(label string) spool.Config {
	return spool.Config{Label: label, Lease: 2 * time.Second, Rescan: 50 * time.Millisecond}
}

// store puts messages into the spool before the sender gets its reply.
func store(out *spool.Spool) func(Message) error {
	return func(m Message) error {
		data, err := m.xml()
		if err != nil {
			return err
		}
		return out.Put(m.name("xml"), bytes.NewReader(data))
	}
}

// Convert turns the XML jobs in base/xml into JSON jobs in base/json until ctx is done.
func Convert(ctx context.Context, base, label string) error {
	out, err := spool.Open(filepath.Join(base, "json"), config(label))
	if err != nil {
		return err
	}
	defer out.Close()
	return work(ctx, filepath.Join(base, "xml"), label, func(c *spool.Claim, data []byte) error {
		var m Message
		if err := xml.Unmarshal(data, &m); err != nil {
			return c.Fail(err.Error())
		}
		result, err := m.json()
		if err != nil {
			return c.Fail(err.Error())
		}
		// Dying here would repeat the next two lines: the cluster knows a job by
		// the message's ID, and refuses it the second time.
		if err := out.Put(m.name("json"), bytes.NewReader(result)); err != nil {
			return c.Retry(err.Error())
		}
		return c.Done()
	})
}

// Submit hands the JSON jobs in base/json to the cluster until ctx is done. If to is
// empty it cannot, and gives each back to those who can.
func Submit(ctx context.Context, base, label, to string) error {
	return work(ctx, filepath.Join(base, "json"), label, func(c *spool.Claim, data []byte) error {
		if to == "" {
			fmt.Printf("released %s\n", c.Name())
			return c.Release()
		}
		var m Message
		if err := json.Unmarshal(data, &m); err != nil {
			return c.Fail(err.Error())
		}
		switch err := cluster(to).submit(m, data); {
		case errors.Is(err, errDuplicate):
			fmt.Printf("duplicate %s\n", c.Name()) // an earlier attempt got that far
		case err != nil:
			return c.Retry(err.Error())
		}
		return c.Done()
	})
}

// work does the jobs of a spool until ctx is done.
func work(ctx context.Context, dir, label string, do func(c *spool.Claim, data []byte) error) error {
	in, err := spool.Open(dir, config(label))
	if err != nil {
		return err
	}
	defer in.Close()
	ready()
	for {
		c, err := in.Claim(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := content(c)
		if err != nil {
			err = c.Retry(err.Error()) // this job's fault, perhaps: it must not end one worker after the other
		} else {
			err = do(c, data)
		}
		if errors.Is(err, spool.ErrClaimLost) {
			continue // somebody else does it
		}
		if err != nil {
			return errors.Join(err, c.Release())
		}
	}
}

func content(c *spool.Claim) ([]byte, error) {
	f, err := c.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// ready tells whoever started this process that it works.
func ready() { fmt.Fprintln(os.Stdout, "ready") }
