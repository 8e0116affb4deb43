package oauthfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// pendingName is the next file, until it is in the place of the other.
func pendingName(path string) string { return path + ".openshell-new" }

// lock locks the file that is at path, and waits for others who have it. Who has the lock may
// replace the file, so what was locked may be another by then.
func lock(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := plainfile.Open(path, os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, path) {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("it can't be locked: %w", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.New("another program has it locked")
		}
	}
}

// isAt reports whether a file is the one that a path leads to.
func isAt(f *os.File, path string) bool {
	mine, err := f.Stat()
	there, err2 := os.Stat(path)
	return err == nil && err2 == nil && os.SameFile(mine, there)
}

// version tells a file from one that was written later.
type version struct {
	inode   uint64
	changed syscall.Timespec
	size    int64
}

func versionOf(path string) (version, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return version{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return version{st.Ino, st.Mtim, st.Size}, nil
}

// prepare makes the next file, empty, with the mode and the owner of the one at path.
func prepare(path string) (*atomicfile.Pending, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	next, err := atomicfile.Create(pendingName(path))
	if err != nil {
		return nil, err
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err = next.Chown(int(owner.Uid), int(owner.Gid)); err == nil { // it may take bits of the mode away
		err = next.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(path)) // what is a mark has to be there after a power cut
	}
	if err != nil {
		next.Discard()
		return nil, err
	}
	return next, nil
}

// save puts an answer into the file at path, unless somebody wrote that anew since it was read.
// next is what prepare made; nil for none.
func (r *Refresher) save(path string, got *answer, next *atomicfile.Pending) (err error) {
	if now, err := versionOf(path); err != nil || now != got.from {
		return err
	}
	if next == nil {
		if next, err = prepare(path); err != nil {
			return fmt.Errorf("the new refresh token can't be kept, and is in memory only: %w", err)
		}
		defer next.Discard()
	}
	_, err = next.Write(got.content)
	if err == nil {
		err = next.Commit(path, atomicfile.Durable)
	}
	if err != nil {
		return fmt.Errorf("the new refresh token can't be kept, and is in memory only: %w", err)
	}
	return nil
}

// complete ends what a gateway began that died. cut means that it may have died after the server's
// answer, and before that was written.
func complete(path string) (cut bool, err error) {
	pending := pendingName(path)
	data, err := plainfile.Read(pending, most)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	old, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	next, err := os.Stat(pending)
	if err != nil {
		return false, err
	}
	if old.ModTime().After(next.ModTime()) { // somebody logged in anew since
		return false, os.Remove(pending)
	}
	if _, err := parse(data); err != nil {
		return true, nil // prepare replaces it
	}
	f, err := plainfile.Open(pending, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	return false, atomicfile.Adopt(f).Commit(path, atomicfile.Durable)
}
