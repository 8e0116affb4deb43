// Package rotlog writes logs of bounded size: the current file, and a few older ones. When
// the current file is full, it becomes the newest of the older ones, and the oldest goes.
//
// What is promised: one write is never split between two files. On a full disk only the
// write fails, and the writer goes on. A Follower in the same process reads the log while it
// is written, and misses nothing without a note.
//
// What is not promised: that a write is on disk when it has returned, or that all that was
// written can still be read.
package rotlog

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"openshell-vm/internal/plainfile"
)

// Options are a log's bounds, and the notes for what is missing.
type Options struct {
	Max   int64 // bytes in a file; a longer write gets a file to itself
	Count int   // files in all: path, path.1, …

	// Append continues the file that is there; else the log begins empty. Others may append
	// to the file, too, so a failed write is not taken back. If a new file can't be made,
	// the log goes on in the old one.
	Append bool

	Header func(seq int) []byte    // the first bytes of the file with that number since the start
	Mark   func() []byte           // the note for writes that the disk did not take
	Missed func(wanted int) []byte // the note for files, from that number on, that a follower has missed
}

// Log is a rotated log. It is safe for concurrent use.
type Log struct {
	path string
	opts Options

	mu      sync.Mutex
	file    *os.File
	size    int64         // of the current file, which has only whole writes
	seq     int           // number of the current file since the start
	hole    bool          // the last write was lost, and no mark says so yet
	closed  bool          // nothing will be written any more
	left    bool          // the files may belong to another log by now
	changed chan struct{} // closed and replaced whenever something above changes

	followers map[*Follower]struct{}
	moved     sync.Cond // signals that a follower went on to another file, or ended
	released  bool      // no write waits for a follower any more
	since     time.Time // since when a write has waited for a follower; zero if none waits
}

// Open opens a log.
func Open(path string, o Options) (l *Log, err error) {
	l = &Log{path: path, opts: o, changed: make(chan struct{}), followers: map[*Follower]struct{}{}}
	l.moved.L = &l.mu
	if o.Append {
		err = l.goOn()
	} else {
		err = l.begin()
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// goOn opens the file to append to, and makes it if it is missing.
func (l *Log) goOn() (err error) {
	l.file, err = plainfile.Open(l.path, writing, mode)
	if err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		l.file.Close()
		return err
	}
	l.size = info.Size()
	return nil
}

const (
	writing = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	mode    = 0o600
)

// begin removes the files of an earlier start and makes the first one.
func (l *Log) begin() (err error) {
	for age := range l.opts.Count {
		if err := os.Remove(Name(l.path, age)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	l.file, l.size, err = l.create(l.path, 0)
	return err
}

// Name returns the path of the log's file that is age rotations old.
func Name(path string, age int) string {
	if age == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, age)
}

// create makes the file with number seq, and returns its size.
func (l *Log) create(path string, seq int) (*os.File, int64, error) {
	f, err := plainfile.Open(path, writing|os.O_TRUNC, mode)
	if err != nil || l.opts.Header == nil {
		return f, 0, err
	}
	n, err := f.Write(l.opts.Header(seq))
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, int64(n), nil
}

// Write appends p. It waits as long as a holding follower would miss something by it. On a
// full disk it removes the oldest file and tries again. If that fails, p is lost: Write
// returns the error, and the next Write begins with the mark.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.await(len(p))
	if l.closed {
		return 0, os.ErrClosed
	}
	n := len(p)
	if l.hole && l.opts.Mark != nil {
		p = append(l.opts.Mark(), p...)
	}
	if err := l.put(p); err != nil {
		l.hole = true
		return 0, err
	}
	l.hole = false
	l.announce()
	return n, nil
}

func (l *Log) put(p []byte) error {
	if l.full(len(p)) {
		if err := l.rotate(); err != nil && !l.opts.Append {
			return err
		}
	}
	err := l.append(p)
	if err != nil && !l.opts.Append && l.dropOldest() {
		err = l.append(p)
	}
	return err
}

// full reports whether n more bytes have to go into the next file.
func (l *Log) full(n int) bool { return l.size > 0 && l.size+int64(n) > l.opts.Max }

// await waits as long as n more bytes would remove a file that a holding follower has not
// read.
func (l *Log) await(n int) {
	for !l.closed && !l.released && l.full(n) && l.behind() {
		if l.since.IsZero() {
			l.since = time.Now()
		}
		l.moved.Wait()
	}
	l.since = time.Time{}
}

// behind reports whether a holding follower still reads the oldest file.
func (l *Log) behind() bool {
	for f := range l.followers {
		if f.hold && f.seq <= l.seq-l.opts.Count+1 {
			return true
		}
	}
	return false
}

// Waited returns for how long a write has waited for a follower; 0 if none waits.
func (l *Log) Waited() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		return 0
	}
	return time.Since(l.since)
}

// Release ends all waiting, for the last writes: no follower may hold up the writer's end.
// The current file may then grow to twice its size, so that followers still find the last
// writes.
func (l *Log) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released {
		l.released, l.opts.Max = true, 2*l.opts.Max
	}
	l.moved.Broadcast()
}

// append writes p. If that fails it takes back the part that was written, unless others may
// write to the file, too.
func (l *Log) append(p []byte) error {
	n, err := l.file.Write(p)
	if err != nil && !l.opts.Append {
		l.file.Truncate(l.size)
		return err
	}
	l.size += int64(n)
	return err
}

// rotate makes the next file and then renames the others. If the file can't be made, nothing
// changes.
func (l *Log) rotate() error {
	next := l.path + ".next"
	file, size, err := l.create(next, l.seq+1)
	if err != nil {
		return err
	}
	for age := l.opts.Count - 1; age > 0 && err == nil; age-- {
		err = os.Rename(Name(l.path, age-1), Name(l.path, age))
		if os.IsNotExist(err) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(next, l.path)
	}
	if err != nil {
		file.Close()
		return errors.Join(err, os.Remove(next))
	}
	l.file.Close()
	l.file, l.size = file, size
	l.seq++
	return nil
}

// dropOldest removes the oldest file to make room on a full disk. It reports whether there
// was one.
func (l *Log) dropOldest() bool {
	for age := l.opts.Count - 1; age > 0; age-- {
		if os.Remove(Name(l.path, age)) == nil {
			return true
		}
	}
	return false
}

// announce wakes the followers.
func (l *Log) announce() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Close ends the log. Followers can still read the rest, even if its files are removed, and
// then get io.EOF.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for f := range l.followers {
		f.keep()
	}
	l.moved.Broadcast()
	l.announce()
	return l.file.Close()
}

// Leave gives up the files' names: somebody else may make a new log there. No Follower can
// be made after that.
func (l *Log) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
}
