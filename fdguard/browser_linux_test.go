// SPDX-License-Identifier: MIT

package fdguard

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A browser is headless Chromium, driven by the DevTools protocol: JSON messages,
// ended by a zero byte, on its descriptors 3 and 4.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	id      int
	session string
	blocked []string // what the console says of the page's own policy
}

type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    any             `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

// patience is for a machine that has never started a browser, and is busy.
const patience = 4 * time.Minute

// startBrowser opens a blank page of a phone's size.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's context, which ends before the browser's directory goes.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir())
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	_ = out.SetReadDeadline(time.Now().Add(patience))
	b := &browser{t: t, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		in.Close() // at which the browser ends
		if err := cmd.Wait(); t.Failed() {
			t.Logf("chromium: %v\n%s", err, stderr.String())
		}
		out.Close()
		cancel()
	})
	var target struct{ TargetID, SessionID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.session = target.SessionID
	b.call("Page.enable", nil, nil)
	b.call("Log.enable", nil, nil)
	return b
}

// call calls a method and waits for its result.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.id++
	msg, err := json.Marshal(message{ID: b.id, SessionID: b.session, Method: method, Params: params})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(msg, 0)); err != nil {
		b.t.Fatal(err)
	}
	m := b.until(func(m message) bool { return m.ID == b.id })
	if m.Error != nil {
		b.t.Fatalf("%s: %s", method, m.Error)
	}
	if result != nil {
		if err := json.Unmarshal(m.Result, result); err != nil {
			b.t.Fatal(err)
		}
	}
}

// until reads messages up to the first that is the wanted one.
func (b *browser) until(wanted func(message) bool) message {
	b.t.Helper()
	for {
		line, err := b.out.ReadBytes(0)
		if err != nil {
			b.t.Fatal(err)
		}
		var m message
		if err := json.Unmarshal(line[:len(line)-1], &m); err != nil {
			b.t.Fatal(err)
		}
		if strings.Contains(string(line), "Content Security Policy") {
			b.blocked = append(b.blocked, string(line))
		}
		if wanted(m) {
			return m
		}
	}
}

// loaded does what leads to another page, and waits for that.
func (b *browser) loaded(method string, params any) {
	b.t.Helper()
	b.call(method, params, nil)
	b.until(func(m message) bool { return m.Method == "Page.loadEventFired" })
}

// resize makes the window a phone's, or a desk's.
func (b *browser) resize(width, height int, phone bool) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}, nil)
}

// eval evaluates an expression in the page, whatever its policy.
func (b *browser) eval(expression string, value any) {
	b.t.Helper()
	var res struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &res)
	if res.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, res.ExceptionDetails)
	}
	if err := json.Unmarshal(res.Result.Value, value); err != nil {
		b.t.Fatalf("%s: %v: %s", expression, err, res.Result.Value)
	}
}

// click presses and releases the mouse on an element, and waits for the page that
// this leads to.
func (b *browser) click(selector string) {
	b.t.Helper()
	var at struct{ X, Y float64 }
	quoted, _ := json.Marshal(selector)
	b.eval(`(() => { const e = document.querySelector(`+string(quoted)+`); e.scrollIntoView();
		const r = e.getBoundingClientRect(); return {x: r.x + r.width/2, y: r.y + r.height/2} })()`, &at)
	mouse := map[string]any{"type": "mousePressed", "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}
	b.call("Input.dispatchMouseEvent", mouse, nil)
	mouse["type"] = "mouseReleased"
	b.loaded("Input.dispatchMouseEvent", mouse)
}

// picture is a PNG of the whole page.
func (b *browser) picture() []byte {
	b.t.Helper()
	var shot struct{ Data []byte }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	return shot.Data
}
