package rotlog

import (
	"bytes"
	"context"
	"io"
	"os"
)

// Follower reads a log while it is written, at its own pace. Before a file is removed that a
// holding follower has not read, the writer waits. Another follower may miss files; then a
// note stands in their place. A Follower is not safe for concurrent use.
type Follower struct {
	log  *Log
	hold bool
	file *os.File
	seq  int // the number of file
	off  int64
	buf  []byte

	kept map[int]*os.File // the files to read next, once the log is closed
	note []byte           // what Next returns first
	told bool             // the hole at the log's end was told
}

// Follow makes a Follower. With replay it starts at the oldest output that is kept, also by
// an earlier process if the log is appended to; else at what comes next. It gets nothing
// twice, and misses nothing without a note.
func (l *Log) Follow(replay, hold bool) (*Follower, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &Follower{log: l, hold: hold, buf: make([]byte, 64<<10), seq: -1}
	if l.left {
		return nil, os.ErrClosed
	}
	if l.closed {
		f.keep()
	}
	var err error
	if replay {
		err = f.openFrom(l.oldest())
	} else {
		err = f.openFrom(l.seq)
		f.off = l.size
	}
	if err != nil {
		f.dropKept()
		return nil, err
	}
	l.followers[f] = struct{}{}
	return f, nil
}

// oldest returns the number of the oldest file that is kept. Files that an earlier process
// wrote have negative numbers. The caller holds the lock.
func (l *Log) oldest() int {
	for age := l.opts.Count - 1; l.opts.Append && age > l.seq; age-- {
		if _, err := os.Lstat(Name(l.path, age)); err == nil {
			return l.seq - age
		}
	}
	return 0
}

// openFrom opens the file with number seq or, if that is gone, the oldest newer one. The
// caller holds the log's lock, so names don't change.
func (f *Follower) openFrom(seq int) error {
	for wanted := seq; ; seq++ {
		file, err := f.open(seq)
		if os.IsNotExist(err) && seq < f.log.seq {
			continue
		} else if err != nil {
			return err
		}
		if seq > wanted {
			f.note = f.log.missed(wanted)
		}
		f.file, f.seq, f.off = file, seq, 0
		return nil
	}
}

// missed returns the note for missing files from that number on.
func (l *Log) missed(wanted int) []byte {
	if l.opts.Missed == nil {
		return nil
	}
	return l.opts.Missed(wanted)
}

func (f *Follower) open(seq int) (*os.File, error) {
	if !f.log.closed {
		return os.Open(Name(f.log.path, f.log.seq-seq))
	}
	file := f.kept[seq]
	if file == nil {
		return nil, os.ErrNotExist
	}
	delete(f.kept, seq)
	return file, nil
}

// keep opens the files that are still to be read, when the log ends: their names may belong
// to another log soon. The caller holds the log's lock.
func (f *Follower) keep() {
	f.kept = map[int]*os.File{}
	for seq := f.seq + 1; seq <= f.log.seq; seq++ {
		if file, err := os.Open(Name(f.log.path, f.log.seq-seq)); err == nil {
			f.kept[seq] = file
		}
	}
}

func (f *Follower) dropKept() {
	for _, file := range f.kept {
		file.Close()
	}
}

// Next waits for output and returns the next whole lines. They are valid until the next
// call. io.EOF means that the log has ended.
func (f *Follower) Next(ctx context.Context) ([]byte, error) {
	for {
		end, wait, err := f.position()
		if said := f.note; said != nil {
			f.note = nil
			return said, nil
		}
		if err != nil {
			return nil, err
		}
		if wait == nil {
			return f.read(end)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// position returns up to where the open file may be read (-1: to its end). If there is
// nothing to read yet, it returns a channel to wait on.
func (f *Follower) position() (end int64, wait <-chan struct{}, err error) {
	l := f.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for f.seq < l.seq {
		if info, err := f.file.Stat(); err != nil || f.off < info.Size() {
			return -1, nil, err
		}
		old := f.file
		if err := f.openFrom(f.seq + 1); err != nil {
			return 0, nil, err
		}
		old.Close()
		l.moved.Broadcast()
	}
	switch {
	case f.off < l.size:
		return l.size, nil, nil
	case l.closed:
		if l.hole && !f.told && l.opts.Mark != nil {
			f.told, f.note = true, l.opts.Mark()
		}
		return 0, nil, io.EOF
	}
	return 0, l.changed, nil
}

func (f *Follower) read(end int64) ([]byte, error) {
	buf := f.buf
	if end >= 0 {
		buf = buf[:min(int64(len(buf)), end-f.off)]
	}
	n, err := f.file.ReadAt(buf, f.off)
	if n == 0 {
		return nil, err
	}
	lines := buf[:n]
	if i := bytes.LastIndexByte(lines, '\n'); i >= 0 {
		lines = lines[:i+1]
	}
	f.off += int64(len(lines))
	return lines, nil
}

// Close ends the Follower.
func (f *Follower) Close() {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	delete(f.log.followers, f)
	f.log.moved.Broadcast()
	f.file.Close()
	f.dropKept()
}
