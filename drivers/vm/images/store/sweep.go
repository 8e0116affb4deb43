package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/images/block"
)

// Blobs says what a Sweep does with the blobs of the images that are here. They only make
// the next pull of an image with the same layers shorter.
type Blobs bool

const (
	KeepBlobs Blobs = false
	DropBlobs Blobs = true
)

// Sweep removes what no image here needs: blobs of images that are gone, parts that nobody
// fetches, conversions of other versions, and what killed processes left. It returns how
// many bytes of the disk are free again. While something is pulled it does nothing. What a
// sandbox was made of stays, be it damaged. If an image can't be read now, it stops.
func (s *Store) Sweep(blobs Blobs) (freed int64, err error) {
	alone, err := lockFile(s.path("lock"), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return 0, nil // something is pulled, or there is nothing here
	} else if err != nil {
		return 0, err
	}
	defer alone.Close()
	s.sweep()
	if freed, err = s.sweepImages(); err != nil {
		return freed, err
	}
	keep, err := s.blobsOf(blobs)
	if err != nil {
		return freed, err
	}
	for _, dir := range []string{"blobs", "names"} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil {
			return freed, err
		}
		for _, e := range entries {
			if keep[e.Name()] || dir == "names" && filepath.Ext(e.Name()) == ".json" {
				continue
			}
			n := size(s.path(dir, e.Name()))
			if err := os.RemoveAll(s.path(dir, e.Name())); err != nil {
				return freed, err
			}
			freed += n
		}
	}
	return freed, nil
}

// Forget removes blobs that no image here needs, and parts of them. While something is
// pulled it does nothing.
func (s *Store) Forget(digests []string) {
	if len(digests) == 0 {
		return
	}
	alone, err := lockFile(s.path("lock"), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return
	}
	defer alone.Close()
	keep, err := s.blobsOf(KeepBlobs)
	if err != nil {
		return
	}
	for _, digest := range digests {
		if h, err := hexOf(digest); err == nil && !keep[h] {
			os.Remove(s.path("blobs", h))
			os.Remove(s.path("blobs", h+".part"))
		}
	}
}

// blobsOf returns the names of the blobs that are to be kept.
func (s *Store) blobsOf(blobs Blobs) (keep map[string]bool, err error) {
	keep = map[string]bool{}
	if blobs == DropBlobs {
		return keep, nil
	}
	images, err := s.List()
	for _, i := range images {
		for _, b := range i.Blobs {
			keep[strings.TrimPrefix(b, "sha256:")] = true
		}
	}
	return keep, err
}

// sweepImages removes images that are not whole or of another version, if nobody uses them,
// and locks that belong to none.
func (s *Store) sweepImages() (freed int64, err error) {
	entries, err := os.ReadDir(s.path("images"))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".lock" {
			continue
		}
		n, err := s.sweepImage(e.Name())
		freed += n
		if err != nil {
			return freed, err
		}
	}
	locks, err := filepath.Glob(s.path("images", "*.lock"))
	for _, l := range locks {
		s.dropLock(strings.TrimSuffix(filepath.Base(l), ".lock"))
	}
	return freed, err
}

func (s *Store) sweepImage(name string) (freed int64, err error) {
	h, version, _ := strings.Cut(name, "-")
	lock, err := lockFile(s.path("images", h+".lock"), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return 0, nil // somebody cares for it
	} else if err != nil {
		return 0, err
	}
	defer lock.Close()
	dir := s.path("images", name)
	if _, err := hexOf("sha256:" + h); err == nil && version == fmt.Sprint(block.Version) {
		if _, err := s.Image("sha256:" + h); !errors.Is(err, ErrNotFound) {
			return 0, err
		}
	}
	if used, err := users(dir); err != nil || len(used) > 0 {
		return 0, err
	}
	freed = size(dir)
	return freed, os.RemoveAll(dir)
}

// dropLock removes a lock of no image. Who waits for it takes a new one then.
func (s *Store) dropLock(h string) {
	if images, err := filepath.Glob(s.path("images", h+"-*")); err != nil || len(images) > 0 {
		return
	}
	lock, err := lockFile(s.path("images", h+".lock"), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return
	}
	defer lock.Close()
	os.Remove(lock.Name())
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
