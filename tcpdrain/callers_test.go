// SPDX-License-Identifier: MIT

package tcpdrain

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A token wakes one caller, who passes it on if he leaves something for others.
func TestCallersWakeEachOther(t *testing.T) {
	t.Parallel()
	read := func(p *Pump, got chan<- string) {
		var b [4]byte
		n, err := p.Read(b[:])
		if err != nil {
			got <- err.Error()
		}
		got <- string(b[:n])
	}
	t.Run("with what a Read leaves", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			local, peer := net.Pipe()
			defer peer.Close()
			p := must(NewPump(local, Config{}))
			defer p.Close()
			got := make(chan string, 2)
			go read(p, got)
			go read(p, got)
			synctest.Wait()
			peer.Write([]byte("aaaabbbb"))
			if a, b := <-got, <-got; a+b != "aaaabbbb" && b+a != "aaaabbbb" {
				t.Errorf("%q and %q", a, b)
			}
		})
	})
	t.Run("with what a writer does not take", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			local, peer := net.Pipe()
			defer peer.Close()
			p := must(NewPump(local, Config{}))
			defer p.Close()
			writing, goOn := make(chan bool), make(chan bool)
			go p.WriteTo(writerFunc(func([]byte) (int, error) {
				close(writing)
				<-goOn
				return 4, errors.New("no more")
			}))
			peer.Write([]byte("aaaabbbb"))
			<-writing
			got := make(chan string, 1)
			go read(p, got)
			synctest.Wait()
			close(goOn)
			if b := <-got; b != "bbbb" {
				t.Errorf("%q", b)
			}
		})
	})
}

// What the kernel gives to a Pump that has just been closed is dropped.
func TestCloseDuringARead(t *testing.T) {
	t.Parallel()
	var p *Pump
	ready := make(chan bool)
	s := &script{tb: t, steps: []step{alphabet["full"], alphabet["eof"]}, onRead: func() {
		<-ready
		p.Close()
	}}
	p = must(newPump(s.conn(), Config{Chunk: scriptChunk}, s.sys()))
	close(ready)
	<-p.done
	if st := p.Stats(); st.Bytes != scriptChunk || st.Held != 0 || st.MostHeld != 0 {
		t.Errorf("%+v", st)
	}
}

// Concurrent callers share the stream: each byte goes to one of them.
func TestConcurrentCallers(t *testing.T) {
	t.Parallel()
	local, peer := tcpPair(t)
	p := must(NewPump(local, Config{Max: 64 << 10}))
	defer p.Close()
	const size = 4 << 20
	go func() {
		peer.Write(make([]byte, size))
		peer.CloseWrite()
	}()
	go io.Copy(io.Discard, peer)
	var mu sync.Mutex
	total := int64(0)
	add := func(n int64) { mu.Lock(); total += n; mu.Unlock() }
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for b := make([]byte, 700); ; {
				n, err := p.Read(b)
				if add(int64(n)); err != nil {
					return
				}
			}
		})
		wg.Go(func() {
			n, err := p.WriteTo(io.Discard)
			if add(n); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		for range 1000 {
			p.Write([]byte("beside"))
			p.Stats()
		}
	})
	within(t, "reading by four", wg.Wait)
	if total != size {
		t.Errorf("%d bytes in all, want %d", total, size)
	}
}

// A deadline that passes while it is being replaced does not come.
func TestADeadlineReplacedAsItPasses(t *testing.T) {
	t.Parallel()
	local, _ := tcpPair(t)
	p := must(NewPump(local, Config{}))
	defer p.Close()
	check(t, p.SetReadDeadline(time.Now().Add(30*time.Millisecond)))
	p.mu.Lock() // so that the one below comes first, and the timer after it
	replaced := make(chan error)
	go func() { replaced <- p.SetReadDeadline(time.Time{}) }()
	time.Sleep(60 * time.Millisecond)
	p.mu.Unlock()
	check(t, <-replaced)
	time.Sleep(10 * time.Millisecond)
	if p.stop.Load() != 0 {
		t.Error("it came")
	}
}
