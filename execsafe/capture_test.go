// SPDX-License-Identifier: MIT

package execsafe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// capture plays a stream that is read in the given pieces.
func capture(c Capture, pieces ...[]byte) (o *Output, over bool, err error) {
	s := newStore(c, &realSystem)
	for _, piece := range pieces {
		for len(piece) > 0 {
			p := piece[:min(len(piece), chunkSize)]
			piece = piece[len(p):]
			if place := s.oldest(); place != nil {
				p = place[:copy(place, p)]
			}
			big, werr := s.put(p)
			over = over || big
			err = errors.Join(err, werr)
		}
	}
	return s.output(), over, err
}

// kept is the obvious model of what a capture keeps.
func kept(c Capture, all []byte) (want []byte, over bool) {
	if c.kind == kindAll || c.kind == kindSpill {
		n := min(c.limit, int64(len(all)))
		return all[:n], int64(len(all)) > c.limit
	}
	if int64(len(all)) <= c.head+c.tail {
		return all, false
	}
	return slices.Concat(all[:c.head], all[int64(len(all))-c.tail:]), false
}

func checkCapture(t *testing.T, c Capture, pieces ...[]byte) {
	t.Helper()
	all := slices.Concat(pieces...)
	o, over, err := capture(c, pieces...)
	t.Cleanup(func() { o.Close() })
	want, wantOver := kept(c, all)
	if err != nil || over != wantOver {
		t.Fatalf("over %t, want %t: %v", over, wantOver, err)
	}
	var read, written bytes.Buffer
	var lines [][]byte
	for line := range o.Lines() {
		lines = append(lines, bytes.Clone(line))
	}
	n, err := o.WriteTo(&written)
	if err != nil || n != int64(len(want)) {
		t.Fatalf("WriteTo = %d, %v; want %d", n, err, len(want))
	}
	last, _ := o.last(7)
	if _, err := io.Copy(&read, struct{ io.Reader }{iotest.HalfReader(o.Reader())}); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"Bytes": o.Bytes(), "WriteTo": written.Bytes(), "Reader": read.Bytes(), "String": []byte(o.String())} {
		if !bytes.Equal(got, want) {
			t.Fatalf("%s has %d bytes, want %d, or others", name, len(got), len(want))
		}
	}
	if o.Len() != len(want) || o.Total() != int64(len(all)) || o.Omitted() != int64(len(all)-len(want)) || o.Truncated() != (len(want) < len(all)) {
		t.Fatalf("Len %d, Total %d, Omitted %d; want %d of %d", o.Len(), o.Total(), o.Omitted(), len(want), len(all))
	}
	if o.Truncated() && c.kind == kindLossy && o.Gap() != c.head {
		t.Fatalf("Gap %d, want %d", o.Gap(), c.head)
	}
	if len(want) < 100_000 && !slices.EqualFunc(lines, splitAll(want), bytes.Equal) {
		t.Fatalf("%d lines, want %d, or others", len(lines), len(splitAll(want)))
	}
	if !bytes.HasSuffix(want, last) || len(last) > 7 {
		t.Fatalf("last(7) = %q", last)
	}
	if again := o.Bytes(); len(again) > 0 && &again[0] != &o.Bytes()[0] {
		t.Fatal("Bytes was joined twice")
	}
}

// splitAll is the obvious model of lines.
func splitAll(b []byte) [][]byte {
	var lines [][]byte
	for line := range bytes.Lines(b) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		lines = append(lines, bytes.TrimSuffix(line, []byte("\r")))
	}
	return lines
}

func captures(dir string) map[string]Capture {
	m := map[string]Capture{"zero": All(defaultLimit), "discard": Discard()}
	for _, n := range []int64{0, 10, chunkSize / 2, chunkSize, chunkSize + 5} {
		m[fmt.Sprintf("all %d", n)] = All(n)
		m[fmt.Sprintf("head %d", n)] = Head(n)
		m[fmt.Sprintf("tail %d", n)] = Tail(n)
		m[fmt.Sprintf("both %d", n)] = HeadTail(n, n)
		m[fmt.Sprintf("uneven %d", n)] = HeadTail(n, 3*n)
		m[fmt.Sprintf("spill %d", n)] = Spill(dir, n, 2*n+100_000)
	}
	return m
}

// G35: lengths at every edge, in pieces of several sizes.
func TestCapturesAreExactAtTheirEdges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range captures(dir) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := c.head + c.tail
			if n > 1<<20 {
				n = 1000
			}
			for _, edge := range []int64{0, n, 2 * n, 3 * n, c.head, c.tail, c.limit, chunkSize} {
				if edge > 1<<20 {
					continue
				}
				for d := int64(-1); d <= 1; d++ {
					all := []byte(pattern(int(max(edge+d, 0))))
					checkCapture(t, c, all)
					checkCapture(t, c, slices.Collect(slices.Chunk(all, max(1, len(all)/3)))...)
					checkCapture(t, c, slices.Collect(slices.Chunk(all, chunkSize-20))...)
					if len(all) < 1000 {
						checkCapture(t, c, slices.Collect(slices.Chunk(all, 1))...)
					}
				}
			}
		})
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 {
		t.Errorf("files are left: %v", names)
	}
}

// G36: bytes are counted, not runes; what is cut in two is kept as it is.
func TestRuneThatIsCutInTwo(t *testing.T) {
	t.Parallel()
	o, _, _ := capture(HeadTail(2, 2), []byte("aééb"))
	if !bytes.Equal(o.Bytes(), []byte("a\xc3\xa9b")) || o.Omitted() != 2 {
		t.Errorf("%q, %d omitted", o.Bytes(), o.Omitted())
	}
	o, _, _ = capture(Head(2), []byte("aé"))
	if !bytes.Equal(o.Bytes(), []byte("a\xc3")) || o.Omitted() != 1 {
		t.Errorf("%q, %d omitted", o.Bytes(), o.Omitted())
	}
}

// FuzzCapture: the first bytes choose a capture, the others are the pieces.
func FuzzCapture(f *testing.F) {
	f.Add(uint8(0), uint16(3), uint16(4), []byte("abc\x00defgh\x00\x00i"))
	f.Add(uint8(2), uint16(40000), uint16(10), bytes.Repeat([]byte("0123456789\n\x00"), 9000))
	f.Add(uint8(1), uint16(0), uint16(33000), bytes.Repeat([]byte("0123456789\r\n\x00"), 9000))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, kind uint8, a, b uint16, data []byte) {
		c := []Capture{All(int64(a)), HeadTail(int64(a), int64(b)), Spill(dir, int64(min(a, b)), int64(max(a, b)))}[kind%3]
		checkCapture(t, c, bytes.SplitAfter(data, []byte{0})...)
	})
}

func TestChunksAreNotJoinedAndNotCopied(t *testing.T) {
	t.Parallel()
	o, _, _ := capture(All(1<<20), []byte(pattern(5*chunkSize+10)))
	var sizes []int
	o.WriteTo(writerOf(func(p []byte) (int, error) { sizes = append(sizes, len(p)); return len(p), nil }))
	if want := []int{chunkSize, chunkSize, chunkSize, chunkSize, chunkSize, 10}; !slices.Equal(sizes, want) {
		t.Errorf("pieces of %v bytes, want %v", sizes, want)
	}
	if _, err := o.WriteTo(writerOf(func(p []byte) (int, error) { return len(p) - 1, nil })); err != io.ErrShortWrite {
		t.Errorf("short write: %v", err)
	}
	if _, err := o.WriteTo(writerOf(func(p []byte) (int, error) { return 0, io.ErrClosedPipe })); err != io.ErrClosedPipe {
		t.Errorf("failed write: %v", err)
	}
}

type writerOf func(p []byte) (int, error)

func (f writerOf) Write(p []byte) (int, error) { return f(p) }

func TestSpillIsUnlinkedAndGivenBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o, _, err := capture(Spill(dir, 100, 1<<20), []byte(pattern(200_000)))
	if err != nil || o.file == nil || o.fileLen != 200_000-100 {
		t.Fatalf("%d bytes in the file: %v", o.fileLen, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 && runtime.GOOS != "windows" {
		t.Errorf("the file has a name: %v", names)
	}
	if err := errors.Join(o.Close(), o.Close()); err != nil {
		t.Errorf("Close, twice: %v", err)
	}
	if _, err := io.Copy(io.Discard, o.Reader()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
	if got := o.String(); got != pattern(100) {
		t.Errorf("after Close, %d bytes are left", len(got))
	}
}

// A disk that is full after some bytes: these stay, the refusal is told once.
func TestSpillOntoAFullDisk(t *testing.T) {
	t.Parallel()
	sys := realSystem
	sys.temp = func(string) (*os.File, error) {
		return nil, &fs.PathError{Op: "open", Path: "tmp", Err: syscall.ENOSPC}
	}
	s := newStore(Spill("", 1000, 1<<20), &sys)
	var errs []error
	for p := range slices.Chunk([]byte(pattern(300_000)), chunkSize) {
		if _, err := s.put(p); err != nil {
			errs = append(errs, err)
		}
	}
	o := s.output()
	if len(errs) != 1 || !errors.Is(errs[0], syscall.ENOSPC) || !errors.Is(errs[0], ErrWriter) {
		t.Errorf("errors %v", errs)
	}
	if o.String() != pattern(1000) || o.Total() != 300_000 || o.Omitted() != 299_000 {
		t.Errorf("%d bytes of %d", o.Len(), o.Total())
	}
}

func TestOutputsWithoutAnything(t *testing.T) {
	t.Parallel()
	var o Output
	if o.Len() != 0 || o.String() != "" || o.Truncated() || o.Close() != nil {
		t.Error("the zero Output is not empty")
	}
	if n, err := o.Reader().Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read = %d, %v", n, err)
	}
	for range o.Lines() {
		t.Error("a line")
	}
	if o := NewOutput([]byte("a\nb")); o.Len() != 3 || o.Total() != 3 || len(slices.Collect(o.Lines())) != 2 {
		t.Errorf("NewOutput: %d bytes", o.Len())
	}
}

func TestBadCapturesAreNamed(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Capture{
		"negative size":   Head(-1),
		"negative size ":  HeadTail(1, -1),
		" negative size":  All(math.MinInt64),
		"nil writer":      Tail(1).Tee(nil),
		"no such file":    Spill("/nowhere/at/all", 1, 2),
		"not a directory": Spill(os.Args[0], 1, 2),
	} {
		_, err := c.resolve("Stderr", All(1))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "Runner.Stderr") || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestTeeDoesNotChangeTheCaptureItIsMadeFrom(t *testing.T) {
	t.Parallel()
	base := Tail(1).Tee(io.Discard)
	a, b := base.Tee(os.Stdout), base.Tee(os.Stderr)
	if len(base.tees) != 1 || a.tees[1] != io.Writer(os.Stdout) || b.tees[1] != io.Writer(os.Stderr) {
		t.Error("captures share their writers")
	}
}

// What is kept takes no more memory than the bounds allow.
func TestStoresStayWithinTheirCaps(t *testing.T) {
	t.Parallel()
	for _, c := range []Capture{All(200_000), Head(100_000), Tail(1 << 20), Tail(10_001), HeadTail(100_000, 300_000), Discard(), Spill(t.TempDir(), 10_000, 1<<30)} {
		s := newStore(c, &realSystem)
		for i := range 200 {
			if _, err := s.put(make([]byte, i*7919%chunkSize)); err != nil {
				t.Fatal(err)
			}
			held := int64(0)
			for _, p := range slices.Concat(s.first.chunks, s.last.chunks) {
				held += int64(cap(p))
			}
			if held > c.head+c.tail {
				t.Fatalf("%+v: %d bytes are held after %d", c, held, s.total)
			}
		}
		s.output().Close()
	}
}
