package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Opener reads something from a byte on. If it can't begin there, begin is 0.
type Opener func(ctx context.Context, from int64) (body io.ReadCloser, begin int64, err error)

// Spoilt removes a blob that does not hold what it should.
func (s *Store) Spoilt(digest string) {
	if h, err := hexOf(digest); err == nil {
		os.Remove(s.path("blobs", h))
	}
}

const (
	// tries is how often a broken transfer is taken up again without a new byte.
	tries = 5
	// firstPause is the pause before that; it doubles.
	firstPause = 500 * time.Millisecond
)

// Blob opens a blob that is here.
func (s *Store) Blob(digest string) (*os.File, error) {
	h, err := hexOf(digest)
	if err != nil {
		return nil, err
	}
	return os.Open(s.path("blobs", h))
}

// Fetch fetches a blob of that size, if it is not here. What an earlier Fetch got of it, be
// it that of a killed process, is not fetched again. If another process fetches it, Fetch
// waits for that. got is told how many bytes are here.
func (s *Store) Fetch(ctx context.Context, digest string, size int64, open Opener, got func(int64)) error {
	h, err := hexOf(digest)
	if err != nil {
		return err
	}
	final := s.path("blobs", h)
	there := func() bool {
		info, err := os.Stat(final)
		return err == nil && info.Size() == size
	}
	for !there() {
		part, err := lockPart(ctx, final+".part")
		if err != nil {
			return err
		}
		// Who had the lock may have finished: then the part that was locked has another name,
		// or it is a new one.
		if mine := same(part, final+".part"); mine && !there() {
			defer part.Close()
			return fetch(ctx, part, final, h, size, open, got)
		} else if mine {
			os.Remove(part.Name())
		}
		part.Close()
	}
	got(size)
	return nil
}

// lockPart waits for the lock on a part.
func lockPart(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := lockFile(path, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// same reports whether a file still has that name.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// fetch completes a part and gives it its final name.
func fetch(ctx context.Context, part *os.File, final, h string, size int64, open Opener, got func(int64)) error {
	sum := sha256.New()
	have, err := io.Copy(sum, part)
	if err != nil {
		return err
	}
	if have > size {
		have = 0
		sum.Reset()
	}
	pause, failed := firstPause, 0
	for have < size {
		got(have)
		before := have
		have, err = more(ctx, part, sum, have, size, open, got)
		switch {
		case err == nil || ctx.Err() != nil:
		case have > before:
			failed, pause = 0, firstPause
		default:
			if failed++; failed == tries || !temporary(err) {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			select {
			case <-time.After(pause):
				pause *= 2
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if found := hex.EncodeToString(sum.Sum(nil)); found != h {
		os.Remove(part.Name())
		return fmt.Errorf("what was fetched as sha256:%s is damaged, or was changed: its digest is sha256:%s", h, found)
	}
	if err := part.Sync(); err != nil {
		return err
	}
	got(size)
	return os.Rename(part.Name(), final)
}

// temporary reports whether a new try may help: not after an answer of the registry.
func temporary(err error) bool {
	var answered interface{ Temporary() bool }
	return !errors.As(err, &answered) || answered.Temporary()
}

// more reads once from where the part ends, and returns where it ends then.
func more(ctx context.Context, part *os.File, sum interface {
	io.Writer
	Reset()
}, have, size int64, open Opener, got func(int64)) (int64, error) {
	body, begin, err := open(ctx, have)
	if err != nil {
		return have, err
	}
	defer body.Close()
	if begin == 0 {
		sum.Reset()
	} else if begin != have {
		return have, fmt.Errorf("the transfer began at %d, not at %d", begin, have)
	}
	have = begin
	if err := part.Truncate(have); err != nil {
		return have, err
	}
	buf := make([]byte, 128<<10)
	for {
		n, err := body.Read(buf)
		if have+int64(n) > size {
			return have, fmt.Errorf("it has more than the %d bytes that its manifest says", size)
		}
		if n > 0 {
			if _, err := part.WriteAt(buf[:n], have); err != nil {
				return have, err
			}
			sum.Write(buf[:n])
			have += int64(n)
			got(have)
		}
		switch {
		case err == io.EOF && have < size:
			return have, io.ErrUnexpectedEOF
		case err == io.EOF:
			return have, nil
		case err != nil:
			return have, err
		}
	}
}
