// SPDX-License-Identifier: MIT

package incident

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A live shows what a running step is at: on a terminal in one line that changes
// and disappears, elsewhere as plain lines.
type live struct {
	w        io.Writer
	terminal bool
	label    string
	start    time.Time
	quit     chan struct{}
	done     chan struct{}

	mu   sync.Mutex
	text string
	over bool
}

func newLive(w io.Writer, name, step string) *live {
	l := &live{
		w: w, terminal: isTerminal(w), label: name + ", " + step,
		start: time.Now(), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go l.tick()
	return l
}

func (l *live) progress(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over { // a step that was left behind is heard no more
		return
	}
	l.text = strings.TrimSpace(fmt.Sprintf(format, args...))
	if l.terminal {
		l.draw()
	} else {
		fmt.Fprintf(l.w, "%s: %s\n", l.label, l.text)
	}
}

// tick keeps the clock of the changing line going.
func (l *live) tick() {
	defer close(l.done)
	if !l.terminal {
		return
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-ticker.C:
			l.mu.Lock()
			l.draw()
			l.mu.Unlock()
		}
	}
}

// draw rewrites the line. It is cut to 78 columns because a line that wraps
// cannot be rewritten.
func (l *live) draw() {
	line := []rune(fmt.Sprintf("%5.1f s  %s: %s", time.Since(l.start).Seconds(), l.label, l.text))
	if len(line) > 78 {
		line = append(line[:77], '…')
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", string(line))
}

func (l *live) stop() {
	close(l.quit)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.terminal {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
