package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/atomicfile"
)

// Make makes an image, unless it is here. write gets an empty file for the block image, and
// fills in what it learns. If two processes make one image, the second waits for the first.
func (s *Store) Make(i Image, write func(out *os.File) error) (made Image, err error) {
	h, err := hexOf(i.ID)
	if err != nil {
		return i, err
	}
	lock, err := s.lockImage(h)
	if err != nil {
		return i, err
	}
	defer func() {
		lock.Close()
		if err != nil {
			s.dropLock(h)
		}
	}()
	if old, err := s.Image(i.ID); err == nil {
		return old, nil
	}
	s.sweep()
	dir, guard, err := s.newDir()
	if err != nil {
		return i, err
	}
	defer guard.Close()
	defer os.RemoveAll(dir)
	if err := writeImage(dir, &i, write); err != nil {
		return i, err
	}
	final := s.path("images", dirName(h))
	if err := keepUsers(final, dir); err != nil {
		return i, err
	}
	if err := os.RemoveAll(final); err != nil { // what is not whole
		return i, err
	}
	if err := os.Rename(dir, final); err != nil {
		return i, err
	}
	if err := atomicfile.SyncDir(s.path("images")); err != nil {
		return i, err
	}
	return s.Image(i.ID)
}

func writeImage(dir string, i *Image, write func(*os.File) error) error {
	out, err := os.OpenFile(filepath.Join(dir, blockFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := write(out); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	i.Pulled, i.Bytes = time.Now(), info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		i.Disk = st.Blocks * 512
	}
	if err := os.Mkdir(filepath.Join(dir, usersDir), 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, imageFile), filepath.Join(dir, ".json"), data, atomicfile.Durable)
}

// newDir makes a directory of its own for an image on the way. guard is locked.
func (s *Store) newDir() (dir string, guard *os.File, err error) {
	for {
		if dir, err = os.MkdirTemp(s.dir, ".new-*"); err != nil {
			return "", nil, err
		}
		// Before it is locked another process may take it for a killed one's.
		guard, err = os.Open(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return "", nil, err
		}
		if unix.Flock(int(guard.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && same(guard, dir) {
			return dir, guard, nil
		}
		guard.Close()
	}
}

// forgotten is how long the beginning of a blob waits for a pull that goes on with it.
const forgotten = 7 * 24 * time.Hour

// sweep removes what killed processes left, and nobody goes on with.
func (s *Store) sweep() {
	left, _ := filepath.Glob(s.path(".*-*"))
	parts, _ := filepath.Glob(s.path("blobs", "*.part"))
	for _, part := range parts {
		if info, err := os.Lstat(part); err == nil && time.Since(info.ModTime()) > forgotten {
			left = append(left, part)
		}
	}
	for _, name := range left {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(name)
		}
		f.Close()
	}
}

// exclusive takes an image's lock. No sweep begins until it is released.
func (s *Store) exclusive(h string) (release func(), err error) {
	pulled, err := s.Pulling()
	if err != nil {
		return nil, err
	}
	lock, err := s.lockImage(h)
	if err != nil {
		pulled()
		return nil, err
	}
	return func() {
		lock.Close()
		pulled()
	}, nil
}

// Untag removes a name. It reports whether there was one.
func (s *Store) Untag(name string) bool { return os.Remove(s.nameFile(name)) == nil }

// Remove removes an image with all its names. It fails with ErrInUse if a sandbox was made
// of it.
func (s *Store) Remove(id string) error {
	h, err := hexOf(id)
	if err != nil {
		return err
	}
	release, err := s.exclusive(h)
	if err != nil {
		return err
	}
	defer release()
	if users, err := users(s.path("images", dirName(h))); err != nil {
		return err
	} else if len(users) > 0 {
		return fmt.Errorf("%w: %s", ErrInUse, strings.Join(users, ", "))
	}
	gone, guard, err := s.newDir()
	if err != nil {
		return err
	}
	defer guard.Close()
	defer os.RemoveAll(gone)
	err = os.Rename(s.path("images", dirName(h)), filepath.Join(gone, "image"))
	if errors.Is(err, os.ErrNotExist) {
		return ErrNotFound
	} else if err != nil {
		return err
	}
	for _, n := range s.names() {
		if n.ID == id {
			os.Remove(s.nameFile(n.Name))
		}
	}
	return nil
}
