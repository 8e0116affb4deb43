package monitor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// rotated is a log of at most count files of about max bytes: path, path.1, …
// Writes are whole: one is never split between two files. Followers read it
// while it is written. It is safe for concurrent use.
type rotated struct {
	path  string
	max   int64
	count int

	// header is what the file with a number begins with, mark what stands for
	// writes that the disk did not take. Nil for nothing.
	header func(seq int) []byte
	mark   func() []byte

	mu      sync.Mutex
	file    *os.File
	size    int64         // of the current file, all of it whole writes
	seq     int           // number of the current file since the start
	hole    bool          // the last write was lost, and no mark says so yet
	closed  bool          // nothing will be written any more
	left    bool          // the files may be another log's by now
	changed chan struct{} // closed, and made anew, whenever the above changes

	followers map[*follower]struct{}
	moved     sync.Cond // a follower has gone on to another file, or away
	released  bool      // no follower is waited for any more
	since     time.Time // when the write that waits for a follower began to; zero if none does
}

// newRotated begins an empty log: output of an earlier start is removed.
func newRotated(path string, max int64, count int) (*rotated, error) {
	r := &rotated{path: path, max: max, count: count}
	return r, r.begin()
}

func (r *rotated) begin() (err error) {
	for i := range r.count {
		if err := os.Remove(rotatedName(r.path, i)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	r.changed, r.followers, r.moved.L = make(chan struct{}), map[*follower]struct{}{}, &r.mu
	r.file, r.size, err = r.create(r.path, 0)
	return err
}

// rotatedName is the name of the log's file that is age rotations old.
func rotatedName(path string, age int) string {
	if age == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, age)
}

// create makes the file with number seq, and gives its size.
func (r *rotated) create(path string, seq int) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil || r.header == nil {
		return f, 0, err
	}
	n, err := f.Write(r.header(seq))
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, int64(n), nil
}

// Write appends p once no follower that is waited for would miss anything by
// it. A full disk costs the oldest files first, then p itself: what writes the log
// must go on, so the error is only told, and the next write begins with the mark.
func (r *rotated) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.await(len(p))
	if r.closed {
		return 0, os.ErrClosed
	}
	n := len(p)
	if r.hole && r.mark != nil {
		p = append(r.mark(), p...)
	}
	if err := r.put(p); err != nil {
		r.hole = true
		return 0, err
	}
	r.hole = false
	r.announce()
	return n, nil
}

func (r *rotated) put(p []byte) error {
	if r.full(len(p)) {
		if err := r.rotate(); err != nil {
			return err
		}
	}
	err := r.append(p)
	if err != nil && r.dropOldest() {
		err = r.append(p)
	}
	return err
}

// full says that n bytes more go into the next file.
func (r *rotated) full(n int) bool { return r.size > 0 && r.size+int64(n) > r.max }

// await waits as long as n bytes more would remove a file that a follower is yet
// to read, and is not to miss.
func (r *rotated) await(n int) {
	for !r.closed && !r.released && r.full(n) && r.behind() {
		if r.since.IsZero() {
			r.since = time.Now()
		}
		r.moved.Wait()
	}
	r.since = time.Time{}
}

// behind says whether a follower that is waited for reads the oldest file still.
func (r *rotated) behind() bool {
	for f := range r.followers {
		if f.hold && f.seq <= r.seq-r.count+1 {
			return true
		}
	}
	return false
}

// waited is for how long a write has waited for a follower.
func (r *rotated) waited() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		return 0
	}
	return time.Since(r.since)
}

// release has no write wait any more, for the last ones: the end of what writes is
// nobody's to hold up. The file may grow to twice its size, so that followers find them.
func (r *rotated) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.released {
		r.released, r.max = true, 2*r.max
	}
	r.moved.Broadcast()
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

// rotate makes the next file before the others get their new names, so that one
// that can't be made changes nothing.
func (r *rotated) rotate() error {
	next := r.path + ".next"
	file, size, err := r.create(next, r.seq+1)
	if err != nil {
		return err
	}
	for age := r.count - 1; age > 0 && err == nil; age-- {
		err = os.Rename(rotatedName(r.path, age-1), rotatedName(r.path, age))
		if os.IsNotExist(err) {
			err = nil
		}
	}
	if err = errors.Join(err, os.Rename(next, r.path)); err != nil {
		file.Close()
		return err
	}
	r.file.Close()
	r.file, r.size = file, size
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

// Close ends the log. Followers read the rest, wherever its files go, and then
// see io.EOF.
func (r *rotated) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	for f := range r.followers {
		f.keep()
	}
	r.moved.Broadcast()
	r.announce()
	return r.file.Close()
}

// leave gives the files up, to who may make a new log of their names.
func (r *rotated) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
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
