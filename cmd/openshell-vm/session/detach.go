package session

import (
	"errors"
	"io"
)

// ErrDetached ends the reading of standard input without an end of input.
var ErrDetached = errors.New("detached")

// The detach keys: ctrl-p, then ctrl-q.
const (
	detachFirst  = 0x10
	detachSecond = 0x11
)

// detachReader passes on what is typed and looks for the detach keys. It holds a ctrl-p
// back until the next key shows what it is.
type detachReader struct {
	from   io.Reader
	detach func()
	held   bool
	rest   []byte // read, but not passed on yet
	end    error  // what comes after rest
}

func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.rest) == 0 && d.end == nil {
		buf := make([]byte, 4096)
		n, err := d.from.Read(buf)
		switch {
		case d.filter(buf[:n]):
			d.detach()
			d.end = ErrDetached
		case err != nil:
			d.end = err
			if d.held { // nothing follows it any more
				d.rest = append(d.rest, detachFirst)
			}
		}
	}
	if len(d.rest) == 0 {
		return 0, d.end
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// filter appends to rest what goes to the workload.
func (d *detachReader) filter(typed []byte) (detached bool) {
	d.rest = d.rest[:0]
	for _, key := range typed {
		switch {
		case d.held && key == detachSecond:
			return true
		case d.held:
			d.rest = append(d.rest, detachFirst)
			d.held = false
		}
		if key == detachFirst {
			d.held = true
			continue
		}
		d.rest = append(d.rest, key)
	}
	return false
}
