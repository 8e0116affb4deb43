package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

const (
	maxNote  = 4096   // what a note of a user holds: a path, in bytes
	maxNotes = 10_000 // of one image
)

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
	all, err := notes(image)
	for _, id := range all {
		own, err := plainfile.Read(filepath.Join(image, usersDir, id), maxNote)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && len(own) > 0 {
			if _, err := os.Lstat(string(own)); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		ids = append(ids, id)
	}
	return ids, err
}

// notes lists the notes of users that the image in that directory has.
func notes(image string) (ids []string, err error) {
	dir, err := os.Open(filepath.Join(image, usersDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxNotes + 1)
	if len(names) > maxNotes {
		return nil, fmt.Errorf("%s has more than %d notes of users", image, maxNotes)
	} else if err != nil && err != io.EOF {
		return nil, err
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, ".") }), nil // those are on their way
}

// keepUsers copies the notes of an image that is about to be replaced, whatever they say: in a
// jail no sandbox's directory is seen, and they all seem to be of sandboxes that are gone. One
// that can't be read becomes an empty one, which stands for a user, too.
func keepUsers(from, to string) error {
	ids, err := notes(from)
	for _, id := range ids {
		own, err := plainfile.Read(filepath.Join(from, usersDir, id), maxNote)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := writeNote(filepath.Join(to, usersDir, id), string(own)); err != nil {
			return err
		}
	}
	return err
}
