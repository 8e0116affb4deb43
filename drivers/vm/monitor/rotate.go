package monitor

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// rotated is a log of at most count files of about max bytes: path, path.1, …
// Writes are whole: one is never split between two files. It is safe for
// concurrent use, and follows says how far a reader may read.
type rotated struct {
	path  string
	max   int64
	count int

	mu      sync.Mutex
	file    *os.File
	size    int64         // of the current file, all of it whole writes
	seq     int           // number of the current file since the start
	lost    int           // writes that the disk did not take
	closed  bool          // nothing will be written any more
	changed chan struct{} // closed, and made anew, whenever the above changes
}

// newRotated begins an empty log: output of an earlier start is removed.
func newRotated(path string, max int64, count int) (*rotated, error) {
	for i := range count {
		if err := os.Remove(rotatedName(path, i)); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
	}
	r := &rotated{path: path, max: max, count: count, changed: make(chan struct{})}
	return r, r.open()
}

// rotatedName is the name of the log's file that is age rotations old.
func rotatedName(path string, age int) string {
	if age == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, age)
}

func (r *rotated) open() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	r.file, r.size = f, 0
	return nil
}

// Write appends p. A full disk costs the oldest files first, then p itself:
// what writes the log must go on, so the error is only told.
func (r *rotated) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, os.ErrClosed
	}
	if r.size > 0 && r.size+int64(len(p)) > r.max {
		if err := r.rotate(); err != nil {
			r.lost++
			return 0, err
		}
	}
	err := r.append(p)
	if err != nil && r.dropOldest() {
		err = r.append(p)
	}
	if err != nil {
		r.lost++
		return 0, err
	}
	r.announce()
	return len(p), nil
}

// append writes p whole or takes back what it wrote of it.
func (r *rotated) append(p []byte) error {
	if _, err := r.file.Write(p); err != nil {
		r.file.Truncate(r.size)
		return err
	}
	r.size += int64(len(p))
	return nil
}

func (r *rotated) rotate() error {
	for age := r.count - 1; age > 0; age-- {
		err := os.Rename(rotatedName(r.path, age-1), rotatedName(r.path, age))
		if err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	old := r.file
	if err := r.open(); err != nil {
		return err
	}
	old.Close()
	r.seq++
	return nil
}

// dropOldest gives room back to a full disk and says whether it could.
func (r *rotated) dropOldest() bool {
	for age := r.count - 1; age > 0; age-- {
		if os.Remove(rotatedName(r.path, age)) == nil {
			return true
		}
	}
	return false
}

// announce wakes the followers.
func (r *rotated) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Close ends the log. Followers read the rest and then see io.EOF.
func (r *rotated) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.announce()
	return r.file.Close()
}

// copyTo copies r into the log until r ends. What the log can't take is lost,
// so that a full disk does not block the other end.
func copyTo(log *rotated, r io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			log.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}
