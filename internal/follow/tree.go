package follow

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/plainfile"
)

// Limits of a directory that is followed. The zero value refuses every directory.
type Limits struct {
	Files int   // how many names may be in it, with those in directories below
	Bytes int64 // what all of its files may have
	Depth int   // how many directories may lie in each other
}

// hidden begins the names that are skipped. Kubernetes keeps what its links lead to under them.
const hidden = ".."

// tree is what a directory holds: of all its files, those that links lead to as well.
type tree struct {
	limits Limits
	files  []string // their names in the tree, as paths without a slash at the ends
	bytes  int64

	// places are the paths of all of them, and of the directories. Each must be one that may be read.
	places    []string
	locations []string // where it may change: see result
	sum       hash.Hash
}

// anywhere is the location of whatever is in a directory.
func anywhere(dir string) string { return filepath.Join(dir, "*") }

// walk looks at a directory and everything in it, without reading a file. It tells a tree from
// another by the stamps of all its names: each link's own, too, since one that was led elsewhere
// and back has another one.
func walk(path string, k key) (t *tree, err error) {
	t = &tree{limits: k.tree, sum: sha256.New()}
	return t, t.walk(path, "", 1, k.most)
}

func (t *tree) walk(path, below string, depth int, most int64) error {
	if depth > t.limits.Depth {
		return fmt.Errorf("%s: more than %d directories in each other", below, t.limits.Depth)
	}
	// A path without links, so that the events of its names are known.
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return in(below, err)
	}
	t.places, t.locations = append(t.places, resolved), append(t.locations, anywhere(resolved))
	names, err := t.list(resolved)
	if err != nil {
		return in(below, err)
	}
	if err := t.note(resolved, below, true); err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, hidden) {
			continue
		}
		if err := t.visit(filepath.Join(resolved, name), filepath.Join(below, name), depth, most); err != nil {
			return err
		}
	}
	return nil
}

// list returns the names in a directory, sorted, and counts them.
func (t *tree) list(dir string) (names []string, err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	left := t.limits.Files - len(t.places)
	entries, err := f.Readdirnames(max(left, 0) + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(entries) > left {
		return nil, fmt.Errorf("over %d names are in it", t.limits.Files)
	}
	slices.Sort(entries)
	return entries, nil
}

// visit adds what is at a path.
func (t *tree) visit(path, below string, depth int, most int64) error {
	if err := t.note(path, below, false); err != nil {
		return err
	}
	locations, err := Locations(path)
	if err != nil {
		return in(below, err)
	}
	for _, location := range locations[:len(locations)-1] { // the links that lead there
		if err := t.note(location, below, false); err != nil {
			return err
		}
	}
	if len(locations) > 1 { // else its directory's location is enough
		t.locations = append(t.locations, locations...)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return in(below, err)
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return t.walk(path, below, depth+1, most)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s is %w", below, plainfile.ErrIrregular)
	case st.Size > most:
		return fmt.Errorf("%s has %d bytes, and %d may be read", below, st.Size, most)
	}
	if t.bytes += st.Size; t.bytes > t.limits.Bytes {
		return fmt.Errorf("its files have over %d bytes together", t.limits.Bytes)
	}
	if len(t.files) >= t.limits.Files {
		return fmt.Errorf("over %d names are in it", t.limits.Files)
	}
	t.files, t.places = append(t.files, below), append(t.places, path)
	return t.note(path, below, true)
}

// note adds the stamp of a path, or of what it leads to, to what the tree is known by.
func (t *tree) note(path, below string, follow bool) error {
	stat := unix.Lstat
	if follow {
		stat = unix.Stat
	}
	var st unix.Stat_t
	if err := stat(path, &st); err != nil {
		return in(below, err)
	}
	fmt.Fprintf(t.sum, "%q %d %d %d %o %v %v\n", below, st.Dev, st.Ino, st.Size, st.Mode, st.Mtim, st.Ctim)
	return nil
}

// read reads the files.
func (t *tree) read(path string, most int64) (map[string][]byte, error) {
	files, all := make(map[string][]byte, len(t.files)), int64(0)
	for _, name := range t.files {
		data, err := plainfile.Read(filepath.Join(path, name), most)
		if err != nil {
			return nil, in(name, err)
		}
		if all += int64(len(data)); all > t.limits.Bytes {
			return nil, fmt.Errorf("its files have over %d bytes together", t.limits.Bytes)
		}
		files[name] = data
	}
	return files, nil
}

// in says where in the tree something is wrong.
func in(below string, err error) error {
	if below == "" {
		return errors.New(reason(err))
	}
	return fmt.Errorf("%s: %s", below, reason(err))
}
