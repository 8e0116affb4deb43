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

	"openshell-vm/drivers/vm/images/block"
	"openshell-vm/internal/atomicfile"
)

// Make makes an image, unless it is here. write gets an empty file for the block image, and
// fills in what it learns. If two processes make one image, the second waits for the first.
func (s *Store) Make(i Image, write func(out *os.File) error) (Image, error) {
	h, err := hexOf(i.ID)
	if err != nil {
		return i, err
	}
	lock, err := s.lockImage(h)
	if err != nil {
		return i, err
	}
	defer lock.Close()
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

// sweep removes what killed processes left.
func (s *Store) sweep() {
	left, _ := filepath.Glob(s.path(".*-*"))
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

// Use notes that a sandbox was made of an image. dir is the sandbox's own directory: once
// it is gone, so is the sandbox.
func (s *Store) Use(id, sandbox, dir string) error {
	h, err := hexOf(id)
	if err != nil {
		return err
	}
	lock, err := s.lockImage(h)
	if err != nil {
		return err
	}
	defer lock.Close()
	if !s.Has(id) {
		return ErrNotFound
	}
	return os.WriteFile(s.path("images", dirName(h), usersDir, filepath.Base(sandbox)), []byte(dir), 0o600)
}

// Unuse notes that a sandbox is gone.
func (s *Store) Unuse(id, sandbox string) {
	if h, err := hexOf(id); err == nil {
		os.Remove(s.path("images", dirName(h), usersDir, filepath.Base(sandbox)))
	}
}

// users lists the sandboxes that were made of an image and are still there.
func (s *Store) users(h string) (ids []string) {
	dir := s.path("images", dirName(h), usersDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		own, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if _, err := os.Lstat(string(own)); errors.Is(err, os.ErrNotExist) {
			os.Remove(filepath.Join(dir, e.Name()))
			continue
		}
		ids = append(ids, e.Name())
	}
	return ids
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
	lock, err := s.lockImage(h)
	if err != nil {
		return err
	}
	defer lock.Close()
	if users := s.users(h); len(users) > 0 {
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

// Blobs says what a Sweep does with the blobs of the images that are here. They only make
// the next pull of an image with the same layers shorter.
type Blobs bool

const (
	KeepBlobs Blobs = false
	DropBlobs Blobs = true
)

// Sweep removes what no image here needs: blobs of images that are gone, parts that nobody
// fetches, conversions of other versions, and what killed processes left. It returns how
// many bytes of the disk are free again. While something is pulled it does nothing.
func (s *Store) Sweep(blobs Blobs) (freed int64, err error) {
	alone, err := lockFile(s.path("lock"), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0, nil // something is pulled, or there is nothing here
	}
	defer alone.Close()
	s.sweep()
	images, err := s.List()
	if err != nil {
		return 0, err
	}
	keep := map[string]bool{}
	for _, i := range images {
		keep["images/"+dirName(strings.TrimPrefix(i.ID, "sha256:"))] = true
		keep["images/"+strings.TrimPrefix(i.ID, "sha256:")+".lock"] = true
		for _, b := range i.Blobs {
			if blobs == DropBlobs {
				break
			}
			keep["blobs/"+strings.TrimPrefix(b, "sha256:")] = true
		}
	}
	for _, dir := range []string{"blobs", "images"} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil {
			return freed, err
		}
		for _, e := range entries {
			if name := dir + "/" + e.Name(); !keep[name] && !s.usedByOthers(e.Name()) {
				freed += size(s.path(name))
				if err := os.RemoveAll(s.path(name)); err != nil {
					return freed, err
				}
			}
		}
	}
	return freed, nil
}

// usedByOthers reports whether a directory of images is that of another version, and
// sandboxes were made of it.
func (s *Store) usedByOthers(name string) bool {
	h, version, ok := strings.Cut(name, "-")
	if !ok || version == fmt.Sprint(block.Version) {
		return false
	}
	entries, err := os.ReadDir(s.path("images", h+"-"+version, usersDir))
	return err == nil && len(entries) > 0
}

// size is what a file or an image's directory takes on the disk.
func size(path string) (bytes int64) {
	filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}
