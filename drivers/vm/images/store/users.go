package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// maxNote bounds what a note of a user holds: a path, in bytes.
const maxNote = 4096

// Use notes that a sandbox was made of an image. dir is the sandbox's own directory: once
// it is gone, so is the sandbox. It may be called again, and does nothing then.
func (s *Store) Use(id, sandbox, dir string) error {
	h, err := hexOf(id)
	if err != nil {
		return err
	}
	if !s.Has(id) { // nor is there a directory for the lock, perhaps
		return ErrNotFound
	}
	release, err := s.exclusive(h)
	if err != nil {
		return err
	}
	defer release()
	if !s.Has(id) {
		return ErrNotFound
	}
	note := s.path("images", dirName(h), usersDir, filepath.Base(sandbox))
	if old, err := plainfile.Read(note, maxNote); err == nil && string(old) == dir {
		return nil
	}
	// Whoever lists the users does it without the lock.
	return writeNote(note, dir)
}

func writeNote(note, dir string) error {
	return atomicfile.Write(note, filepath.Join(filepath.Dir(note), ".new"), []byte(dir), atomicfile.Durable)
}

// Unuse notes that a sandbox is gone.
func (s *Store) Unuse(id, sandbox string) {
	if h, err := hexOf(id); err == nil {
		os.Remove(s.path("images", dirName(h), usersDir, filepath.Base(sandbox)))
	}
}

// users lists the sandboxes that were made of the image in that directory, and are still
// there. A note that can't be read is one of a user. It removes nothing: it is called
// without a lock.
func users(image string) (ids []string, err error) {
	entries, err := os.ReadDir(filepath.Join(image, usersDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // on its way
		}
		own, err := plainfile.Read(filepath.Join(image, usersDir, e.Name()), maxNote)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && len(own) > 0 {
			if _, err := os.Lstat(string(own)); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		ids = append(ids, e.Name())
	}
	return ids, nil
}

// keepUsers copies the notes of an image that is about to be replaced.
func keepUsers(from, to string) error {
	ids, err := users(from)
	for _, id := range ids {
		own, err := plainfile.Read(filepath.Join(from, usersDir, id), maxNote)
		if err == nil {
			err = writeNote(filepath.Join(to, usersDir, id), string(own))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}
