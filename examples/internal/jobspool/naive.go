// SPDX-License-Identifier: MIT

package jobspool

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"time"
)

// The way it happened: each stage looks into a shared directory every now and then
// and works off what it finds. Nothing says that a file is taken, or by whom, and
// nobody notices that a second host runs the same jobs.

const naiveTick = 2 * time.Millisecond // for each file, and for each look

func naiveStore(base string) func(Message) error {
	return func(m Message) error {
		data, err := m.xml()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(base, "xml", m.name("xml")), data, 0o644)
	}
}

// naiveConvert turns xml/*.xml into json/*.json.
func naiveConvert(ctx context.Context, base string) {
	naiveLoop(ctx, filepath.Join(base, "xml"), func(path string, data []byte) {
		var m Message
		if xml.Unmarshal(data, &m) != nil {
			return // perhaps it is still being written: next time
		}
		if out, err := m.json(); err == nil {
			os.WriteFile(filepath.Join(base, "json", m.name("json")), out, 0o644)
		}
		os.Remove(path)
	})
}

// naiveSubmit submits json/*.json, if it has been told where to.
func naiveSubmit(ctx context.Context, base string, to cluster) {
	naiveLoop(ctx, filepath.Join(base, "json"), func(path string, data []byte) {
		var m Message
		if json.Unmarshal(data, &m) != nil {
			return
		}
		if os.Remove(path) != nil {
			return // the other instance was faster
		}
		if to != "" {
			to.submit(m, data)
		}
	})
}

// naiveLoop is the cron job.
func naiveLoop(ctx context.Context, dir string, work func(path string, data []byte)) {
	for ctx.Err() == nil {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if data, err := os.ReadFile(path); err == nil {
				work(path, data)
				time.Sleep(naiveTick)
			}
		}
		time.Sleep(naiveTick)
	}
}
