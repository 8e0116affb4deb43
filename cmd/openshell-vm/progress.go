package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"openshell-vm/internal/text"
)

// progress is one line on a terminal that says what is under way, once it has
// taken a while. Elsewhere it is silent. A nil progress is silent, too.
type progress struct {
	out io.Writer

	mu    sync.Mutex
	stop  chan struct{} // nil while nothing is under way
	shown bool
}

const (
	progressAfter = 400 * time.Millisecond
	progressEvery = time.Second
	clearLine     = "\r\x1b[K"
)

func newProgress(out *os.File) *progress {
	if !term.IsTerminal(int(out.Fd())) {
		return nil
	}
	return &progress{out: out}
}

// step says what is under way from now on.
func (p *progress) step(what string) { p.stepOf(func() string { return what }) }

// stepOf is step for a text that changes; it is asked for each time.
func (p *progress) stepOf(what func() string) {
	if p == nil {
		return
	}
	p.done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop = make(chan struct{})
	go p.show(what, time.Now(), p.stop)
}

// done takes the line away.
func (p *progress) done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop == nil {
		return
	}
	close(p.stop)
	p.stop = nil
	if p.shown {
		fmt.Fprint(p.out, clearLine)
		p.shown = false
	}
}

func (p *progress) show(what func() string, since time.Time, stop chan struct{}) {
	wait := time.NewTimer(progressAfter)
	defer wait.Stop()
	for {
		select {
		case <-stop:
			return
		case <-wait.C:
			wait.Reset(time.Until(since.Add(time.Since(since).Truncate(progressEvery) + progressEvery)))
		}
		line := p.fit(fmt.Sprintf("%s … %.0fs", what(), time.Since(since).Seconds()))
		p.mu.Lock()
		if p.stop == stop {
			fmt.Fprint(p.out, clearLine, line)
			p.shown = true
		}
		p.mu.Unlock()
	}
}

// fit cuts a line to the terminal: one that wraps could not be taken away.
func (p *progress) fit(line string) string {
	f, ok := p.out.(*os.File)
	if !ok {
		return line
	}
	cols, _, err := term.GetSize(int(f.Fd()))
	if err != nil || cols <= 0 {
		return line
	}
	return text.Short(line, cols-1)
}

// before gives a writer that takes the line away before the first output.
func (p *progress) before(w io.Writer) io.Writer {
	if p == nil {
		return w
	}
	return beforeOutput{p, w}
}

type beforeOutput struct {
	p *progress
	w io.Writer
}

func (b beforeOutput) Write(data []byte) (int, error) {
	b.p.done()
	return b.w.Write(data)
}
