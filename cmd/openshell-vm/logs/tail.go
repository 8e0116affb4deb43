package logs

import (
	"bytes"
	"io"
	"os"
)

// tail keeps the last lines of two streams in the order in which they came.
type tail struct{ lines []line }

type line struct {
	out  io.Writer
	text []byte
	open bool // its end has not come yet
}

// to gives a writer whose last n lines are kept for out.
func (t *tail) to(out *os.File, n int) io.Writer { return tailOf{t, out, n} }

type tailOf struct {
	tail *tail
	out  *os.File
	n    int
}

// Write keeps lines. One that has no end yet waits for its rest.
func (w tailOf) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		last := w.tail.unfinished(w.out)
		if last == nil {
			w.tail.lines = append(w.tail.lines, line{out: w.out})
			last = &w.tail.lines[len(w.tail.lines)-1]
		}
		last.text = append(last.text, part...)
		last.open = !bytes.HasSuffix(part, []byte("\n"))
	}
	// More than are asked for are kept for a while: moving them costs, too.
	if over := len(w.tail.lines) - w.n; over > w.n+1000 {
		w.tail.lines = append([]line(nil), w.tail.lines[over:]...)
	}
	return len(p), nil
}

func (t *tail) unfinished(out io.Writer) *line {
	for i := len(t.lines) - 1; i >= 0 && i >= len(t.lines)-2; i-- {
		if t.lines[i].open && t.lines[i].out == out {
			return &t.lines[i]
		}
	}
	return nil
}

func (t *tail) print(n int) error {
	for _, l := range t.lines[max(0, len(t.lines)-n):] {
		if _, err := l.out.Write(l.text); err != nil {
			return err
		}
	}
	return nil
}
