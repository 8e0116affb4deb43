package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/images/room"
)

// Opener reads something from a byte on. If it can't begin there, begin is 0.
type Opener func(ctx context.Context, from int64) (body io.ReadCloser, begin int64, err error)

// Damaged reports whether a blob that is here does not hold what its digest says, and
// removes it then. It reads all of it.
func (s *Store) Damaged(digest string) bool {
	f, err := s.Blob(digest)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err == nil && "sha256:"+hex.EncodeToString(sum.Sum(nil)) == digest {
		return false
	}
	os.Remove(f.Name())
	return true
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
			t := &transfer{part: part, sum: sha256.New(), size: size, open: open, got: got,
				room: room.Guard{Free: func() (uint64, error) { return s.free(part) }}}
			return t.finish(ctx, final, h)
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

// transfer is a part that is being completed.
type transfer struct {
	part *os.File
	sum  hash.Hash // of what is here
	have int64     // bytes that are here
	size int64
	open Opener
	got  func(int64)
	room room.Guard
}

// finish completes a part and gives it its final name. A part that nobody can go on with is
// removed.
func (t *transfer) finish(ctx context.Context, final, h string) (err error) {
	if t.have, err = io.Copy(t.sum, t.part); err != nil {
		return err
	}
	if t.have > t.size {
		t.have = 0
		t.sum.Reset()
	}
	if err = t.complete(ctx); err != nil {
		if useless(err) {
			os.Remove(t.part.Name())
		}
		return err
	}
	if found := hex.EncodeToString(t.sum.Sum(nil)); found != h {
		os.Remove(t.part.Name())
		return fmt.Errorf("what was fetched as sha256:%s is damaged, or was changed: its digest is sha256:%s", h, found)
	}
	if err := t.part.Sync(); err != nil {
		return err
	}
	t.got(t.size)
	return os.Rename(t.part.Name(), final)
}

// complete reads until all is here, and begins again where a transfer broke off.
func (t *transfer) complete(ctx context.Context) error {
	if t.have < t.size {
		if err := t.room.Need(t.size - t.have); err != nil {
			return here{err}
		}
	}
	pause, failed := firstPause, 0
	for t.have < t.size {
		t.got(t.have)
		before := t.have
		err := t.more(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			continue
		case t.have > before:
			failed, pause = 0, firstPause
		default:
			failed++
		}
		if failed == tries || !temporary(err) {
			return err
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// here is an error of this host's, or of a source that can't be right: it comes again.
type here struct{ error }

func (e here) Unwrap() error { return e.error }

// temporary reports whether a new try may help: not after an answer of the registry. Other
// errors say of themselves whether they are temporary, but a refused connection says no.
func temporary(err error) bool {
	if errors.As(err, &here{}) {
		return false
	}
	var answer *transport.Error
	return !errors.As(err, &answer) || answer.Temporary()
}

// useless reports whether after that error nobody can go on with what is here.
func useless(err error) bool {
	var answer *transport.Error
	final := []int{http.StatusNotFound, http.StatusGone, http.StatusRequestedRangeNotSatisfiable}
	return errors.As(err, &here{}) || errors.As(err, &answer) && slices.Contains(final, answer.StatusCode)
}

// more reads once from where the part ends.
func (t *transfer) more(ctx context.Context) error {
	body, begin, err := t.open(ctx, t.have)
	if err != nil {
		return err
	}
	defer body.Close()
	if begin == 0 {
		t.sum.Reset()
	} else if begin != t.have {
		return here{fmt.Errorf("the transfer began at %d, not at %d", begin, t.have)}
	}
	t.have = begin
	if err := t.part.Truncate(t.have); err != nil {
		return here{err}
	}
	buf := make([]byte, 128<<10)
	for {
		n, err := body.Read(buf)
		if err := t.keep(buf[:n]); err != nil {
			return here{err}
		}
		switch {
		case err == io.EOF && t.have < t.size:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (t *transfer) keep(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if t.have+int64(len(p)) > t.size {
		return fmt.Errorf("it has more than the %d bytes that its manifest says", t.size)
	}
	if err := t.room.Wrote(len(p)); err != nil {
		return err
	}
	if _, err := t.part.WriteAt(p, t.have); err != nil {
		return err
	}
	t.sum.Write(p)
	t.have += int64(len(p))
	t.got(t.have)
	return nil
}
