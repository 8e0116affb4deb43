// Package store keeps images on disk, for all gateways of a user. Several processes may
// use one directory at once, and each may be killed at any instruction.
//
//	blobs/HEX              a layer as a registry has it; its digest was checked
//	blobs/HEX.part         the beginning of one; locked by who fetches it
//	images/HEX-VERSION/    an image by the digest of its configuration, and the version of
//	                       the conversion; it is there as soon as it is whole
//	  image.json           the Image
//	  root.erofs           the block image
//	  users/SANDBOX        a sandbox that was made of it: the file holds its directory
//	images/HEX.lock        locked by who makes or removes the image
//	names/HEX.json         what a name means; HEX is the digest of the name
//	.new-*                 on the way to images/; locked while somebody writes it
//	lock                   shared by who pulls; who removes blobs has it alone
//
// The directory is a cache: it may be emptied at any time. What is not whole is not used.
package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/images/block"
	"openshell-vm/drivers/vm/images/room"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// Names in the directory of an image.
const (
	imageFile = "image.json"
	blockFile = "root.erofs"
	usersDir  = "users"
)

// maxJSON bounds a file of ours, in bytes. A configuration is at most 4 MiB.
const maxJSON = 16 << 20

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("there is no such image here")
	ErrInUse    = errors.New("a sandbox was made of it")
)

// Image is one image. Its Names are not in its file: see List.
type Image struct {
	ID      string          `json:"id"`               // sha256:… of the configuration
	Digest  string          `json:"digest,omitempty"` // sha256:… of the manifest; "" if it had none
	Pulled  time.Time       `json:"pulled"`
	Bytes   int64           `json:"bytes"`            // length of the block image
	Disk    int64           `json:"disk"`             // what the block image takes on the disk, in bytes
	Config  json.RawMessage `json:"config"`           // as the image's maker wrote it
	Blobs   []string        `json:"blobs,omitempty"`  // sha256:… of its layers here
	Source  string          `json:"source,omitempty"` // the reference that it was first made of
	Names   []string        `json:"-"`
	Block   string          `json:"-"` // path of the block image
	Sandbox []string        `json:"-"` // ids of the sandboxes that were made of it
}

// Name is what a name means.
type Name struct {
	Name   string    `json:"name"`
	ID     string    `json:"id"`
	Digest string    `json:"digest,omitempty"`
	Pulled time.Time `json:"pulled"`
}

// Store is a directory with images. It is safe for concurrent use.
type Store struct {
	dir  string
	free func(*os.File) (uint64, error) // room where the file lies, in bytes
}

// Open returns the store in dir, which is made with mode 0700 when something is written.
func Open(dir string) *Store { return &Store{dir: dir, free: room.Free} }

// path joins names to the store's directory.
func (s *Store) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

// make makes the store's directories.
func (s *Store) make() error {
	for _, dir := range []string{"blobs", "images", "names"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// hexOf returns the hexadecimal part of a digest; an error for what is none.
func hexOf(digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if b, err := hex.DecodeString(h); !ok || err != nil || len(b) != sha256.Size || strings.ToLower(h) != h {
		return "", fmt.Errorf("%.80q is no digest", digest)
	}
	return h, nil
}

func dirName(hex string) string { return fmt.Sprintf("%s-%d", hex, block.Version) }

// Image returns an image by its ID, if all of it is there.
func (s *Store) Image(id string) (Image, error) {
	var i Image
	h, err := hexOf(id)
	if err != nil {
		return i, err
	}
	dir := s.path("images", dirName(h))
	data, err := plainfile.Read(filepath.Join(dir, imageFile), maxJSON)
	if errors.Is(err, fs.ErrNotExist) {
		return i, ErrNotFound
	} else if err != nil {
		return i, err
	}
	if err := json.Unmarshal(data, &i); err != nil {
		return i, fmt.Errorf("%w: its description is damaged", ErrNotFound)
	}
	i.Block = filepath.Join(dir, blockFile)
	if info, err := os.Lstat(i.Block); err != nil || !info.Mode().IsRegular() || info.Size() != i.Bytes || i.ID != id {
		return i, fmt.Errorf("%w: its block image is damaged", ErrNotFound)
	}
	return i, nil
}

// Has reports whether all of an image is there.
func (s *Store) Has(id string) bool {
	_, err := s.Image(id)
	return err == nil
}

func (s *Store) nameFile(name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.path("names", hex.EncodeToString(sum[:])+".json")
}

// Lookup returns what a name means, and its image.
func (s *Store) Lookup(name string) (Image, error) {
	n, err := readName(s.nameFile(name))
	if err != nil {
		return Image{}, err
	}
	i, err := s.Image(n.ID)
	i.Digest = n.Digest
	return i, err
}

func readName(file string) (n Name, err error) {
	data, err := plainfile.Read(file, maxJSON)
	if errors.Is(err, fs.ErrNotExist) {
		return n, ErrNotFound
	} else if err != nil {
		return n, err
	}
	return n, json.Unmarshal(data, &n)
}

// Named returns what a name means.
func (s *Store) Named(name string) (Name, error) { return readName(s.nameFile(name)) }

// SetName lets a name mean an image, from now on. asked is when the name's source was asked:
// what it has changed since is not in the image.
func (s *Store) SetName(name, id, digest string, asked time.Time) error {
	if err := s.make(); err != nil {
		return err
	}
	return atomicfile.WriteJSON(s.nameFile(name), Name{Name: name, ID: id, Digest: digest, Pulled: asked}, atomicfile.Whole)
}

// names lists all names.
func (s *Store) names() (all []Name) {
	files, _ := filepath.Glob(s.path("names", "*.json"))
	for _, file := range files {
		if n, err := readName(file); err == nil {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b Name) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// List lists the images that are whole, with their names and users.
func (s *Store) List() ([]Image, error) {
	entries, err := os.ReadDir(s.path("images"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := s.names()
	var all []Image
	for _, e := range entries {
		h, ok := strings.CutSuffix(e.Name(), fmt.Sprintf("-%d", block.Version))
		if !ok {
			continue
		}
		i, err := s.Image("sha256:" + h)
		if err != nil {
			continue
		}
		for _, n := range names {
			if n.ID == i.ID {
				i.Names = append(i.Names, n.Name)
			}
		}
		i.Sandbox, _ = users(filepath.Dir(i.Block)) // Remove asks again, and minds the error
		all = append(all, i)
	}
	return all, nil
}

// lockFile opens and locks a file; how is LOCK_SH or LOCK_EX, perhaps with LOCK_NB. Closing
// the file unlocks it.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockImage waits for the lock on an image. Whoever had it may have removed its file; then
// another one may lock a new file of that name, and the old one is worth nothing.
func (s *Store) lockImage(h string) (*os.File, error) {
	for {
		f, err := lockFile(s.path("images", h+".lock"), unix.LOCK_EX)
		if err != nil || same(f, s.path("images", h+".lock")) {
			return f, err
		}
		f.Close()
	}
}

// Pulling keeps blobs from being removed until release is called.
func (s *Store) Pulling() (release func(), err error) {
	if err := s.make(); err != nil {
		return nil, err
	}
	f, err := lockFile(s.path("lock"), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}
