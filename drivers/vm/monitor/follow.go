package monitor

import (
	"bytes"
	"context"
	"io"
	"os"
)

// follower reads a rotated log while it is written, at its own pace: it lags
// behind without holding the writer up. One that lags by more than the log
// keeps misses what has been rotated away. It is not safe for concurrent use.
type follower struct {
	log  *rotated
	file *os.File
	seq  int // of file
	off  int64
	buf  []byte
}

// follow starts at the oldest output that is kept or, without replay, at what
// comes next. Between the two nothing is lost and nothing comes twice.
func (r *rotated) follow(replay bool) (*follower, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &follower{log: r, buf: make([]byte, 64<<10)}
	if replay {
		return f, f.openFrom(0)
	}
	err := f.openFrom(r.seq)
	f.off = r.size
	return f, err
}

// openFrom opens the file with number seq, or the oldest newer one. The log's
// lock is held, so names stay what they are.
func (f *follower) openFrom(seq int) error {
	for ; ; seq++ {
		file, err := os.Open(rotatedName(f.log.path, f.log.seq-seq))
		if os.IsNotExist(err) && seq < f.log.seq {
			continue
		} else if err != nil {
			return err
		}
		f.file, f.seq, f.off = file, seq, 0
		return nil
	}
}

// next waits for output and returns the next whole lines, which stay valid
// until the next call. io.EOF says that the log has ended.
func (f *follower) next(ctx context.Context) ([]byte, error) {
	for {
		end, wait, err := f.position()
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

// position says up to where the open file may be read (-1: to its end), or
// gives what to wait for when there is nothing yet.
func (f *follower) position() (end int64, wait <-chan struct{}, err error) {
	r := f.log
	r.mu.Lock()
	defer r.mu.Unlock()
	for f.seq < r.seq {
		if info, err := f.file.Stat(); err != nil || f.off < info.Size() {
			return -1, nil, err
		}
		f.file.Close()
		if err := f.openFrom(f.seq + 1); err != nil {
			return 0, nil, err
		}
	}
	switch {
	case f.off < r.size:
		return r.size, nil, nil
	case r.closed:
		return 0, nil, io.EOF
	}
	return 0, r.changed, nil
}

func (f *follower) read(end int64) ([]byte, error) {
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

func (f *follower) close() { f.file.Close() }
