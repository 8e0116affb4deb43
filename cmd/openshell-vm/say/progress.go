package say

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"openshell-vm/internal/text"
)

// Progress is one line on a terminal. It says what is under way, once that has taken a
// while. Elsewhere it is silent, and so is a nil Progress.
type Progress struct {
	out io.Writer

	mu    sync.Mutex
	stop  chan struct{} // nil while nothing is under way
	shown bool
}

// ProgressAfter is how long something takes before it is told.
const ProgressAfter = 400 * time.Millisecond

const (
	progressEvery = time.Second
	clearLine     = "\r\x1b[K"
)

// NewProgress shows it on out, if that is a terminal.
func NewProgress(out *os.File) *Progress {
	if !term.IsTerminal(int(out.Fd())) {
		return nil
	}
	return &Progress{out: out}
}

// Step says what is under way from now on.
func (p *Progress) Step(what string) { p.stepOf(func() string { return what }) }

// Watch is Step for a text that changes. what is called each time, from another goroutine.
func (p *Progress) Watch(what func() string) { p.stepOf(what) }

// stepOf is Step for a text that changes. what is called each time.
func (p *Progress) stepOf(what func() string) {
	if p == nil {
		return
	}
	p.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop = make(chan struct{})
	go p.show(what, time.Now(), p.stop)
}

// Done takes the line away.
func (p *Progress) Done() {
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

func (p *Progress) show(what func() string, since time.Time, stop chan struct{}) {
	wait := time.NewTimer(ProgressAfter)
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

// fit cuts a line to the terminal. One that wraps could not be taken away.
func (p *Progress) fit(line string) string {
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

// Before gives a writer that takes the line away before the first output.
func (p *Progress) Before(w io.Writer) io.Writer {
	if p == nil {
		return w
	}
	return beforeOutput{p, w}
}

type beforeOutput struct {
	p *Progress
	w io.Writer
}

func (b beforeOutput) Write(data []byte) (int, error) {
	b.p.Done()
	return b.w.Write(data)
}
