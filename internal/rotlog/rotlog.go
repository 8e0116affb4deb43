// Package rotlog writes logs that never take up more than so much of a disk: a file,
// and a few older ones that it was before.
//
// What is promised: one write is never split between two files, and a full disk costs
// the write, not the writer. A Follower, in the same process, reads the log while it is
// written and misses nothing untold.
//
// What is not: that a write is on disk when it is done, or that all that was written can
// still be read. Older files go.
package rotlog

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"openshell-vm/internal/plainfile"
)

// Options are what a log is bounded by, and what stands in the place of what is missing.
type Options struct {
	Max   int64 // bytes of a file, about: a longer write than that has one to itself
	Count int   // of files: path, path.1, …

	// Append goes on with what is there; else the log begins empty. Others may append
	// to the file, too, so nothing that was written is taken back. Where no new file can
	// be made, the old one is written on.
	Append bool

	Header func(seq int) []byte    // what the file with a number since the start begins with
	Mark   func() []byte           // stands for writes that the disk did not take
	Missed func(wanted int) []byte // stands for files from that number on that a follower came too late for
}

// Log is such a log. It is safe for concurrent use.
type Log struct {
	path string
	opts Options

	mu      sync.Mutex
	file    *os.File
	size    int64         // of the current file, all of it whole writes
	seq     int           // number of the current file since the start
	hole    bool          // the last write was lost, and no mark says so yet
	closed  bool          // nothing will be written any more
	left    bool          // the files may be another log's by now
	changed chan struct{} // closed, and made anew, whenever the above changes

	followers map[*Follower]struct{}
	moved     sync.Cond // a follower has gone on to another file, or away
	released  bool      // no follower is waited for any more
	since     time.Time // when the write that waits for a follower began to; zero if none does
}

// Open begins a log.
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

// goOn opens the file that is there.
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

// begin removes the output of an earlier start.
func (l *Log) begin() (err error) {
	for age := range l.opts.Count {
		if err := os.Remove(Name(l.path, age)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	l.file, l.size, err = l.create(l.path, 0)
	return err
}

// Name is the name of the log's file that is age rotations old.
func Name(path string, age int) string {
	if age == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, age)
}

// create makes the file with number seq, and gives its size.
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

// Write appends p once no follower that is waited for would miss anything by
// it. A full disk costs the oldest files first, then p itself: what writes the log
// must go on, so the error is only told, and the next write begins with the mark.
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

// full says that n bytes more go into the next file.
func (l *Log) full(n int) bool { return l.size > 0 && l.size+int64(n) > l.opts.Max }

// await waits as long as n bytes more would remove a file that a follower is yet
// to read, and is not to miss.
func (l *Log) await(n int) {
	for !l.closed && !l.released && l.full(n) && l.behind() {
		if l.since.IsZero() {
			l.since = time.Now()
		}
		l.moved.Wait()
	}
	l.since = time.Time{}
}

// behind says whether a follower that is waited for reads the oldest file still.
func (l *Log) behind() bool {
	for f := range l.followers {
		if f.hold && f.seq <= l.seq-l.opts.Count+1 {
			return true
		}
	}
	return false
}

// Waited is for how long a write has waited for a follower.
func (l *Log) Waited() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		return 0
	}
	return time.Since(l.since)
}

// Release has no write wait any more, for the last ones: the end of what writes is
// nobody's to hold up. The file may grow to twice its size, so that followers find them.
func (l *Log) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released {
		l.released, l.opts.Max = true, 2*l.opts.Max
	}
	l.moved.Broadcast()
}

// append writes p whole or takes back what it wrote of it, if it alone writes.
func (l *Log) append(p []byte) error {
	n, err := l.file.Write(p)
	if err != nil && !l.opts.Append {
		l.file.Truncate(l.size)
		return err
	}
	l.size += int64(n)
	return err
}

// rotate makes the next file before the others get their new names, so that one
// that can't be made changes nothing.
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

// dropOldest gives room back to a full disk and says whether it could.
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

// Close ends the log. Followers read the rest, wherever its files go, and then
// see io.EOF.
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

// Leave gives the files up, to who may make a new log of their names.
func (l *Log) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
}
