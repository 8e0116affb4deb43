package drivers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"openshell-vm/internal/inode"
	"openshell-vm/internal/mounts"
)

// Exposure says what of a directory that a sandbox is to see it must not see.
// It refuses a source that lies in a hidden directory (state and runtime), on
// one of the kernel's own file systems, or beside the host's control sockets.
// Where such things lie below the source it returns their paths relative to it,
// outermost only, over which the driver puts an empty read-only directory.
// sockets are further control sockets than those that are known.
//
// Directories are compared by device and inode, and by what lies in them, so a bind
// mount, a symlink on the way to one, an overlay or a snapshot is seen through. What
// does not exist cannot be exposed and is passed over.
func Exposure(source string, hidden []string, sockets ...string) (masks []string, err error) {
	_, masks, err = exposure(source, hidden, sockets)
	return masks, err
}

// exposure says which directory it judged, too.
func exposure(source string, hidden, sockets []string) (judged Directory, masks []string, err error) {
	table, err := mounts.Read(mounts.Self)
	if err != nil {
		return judged, nil, err
	}
	fd, err := openSource(source, table)
	if err != nil {
		return judged, nil, err
	}
	defer syscall.Close(fd)
	if judged, err = inode.OfFile(fd); err != nil {
		return judged, nil, &fs.PathError{Op: "stat", Path: source, Err: err}
	}
	// The kernel's own word on where this very directory is.
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return judged, nil, err
	}
	masks, err = masksBelow(source, real, hidden, sockets, table)
	return judged, masks, err
}

// masksBelow refuses a source, which really is at real, or finds what of it is
// to be covered.
func masksBelow(source, real string, hidden, sockets []string, table []mounts.Entry) ([]string, error) {
	masks := kernelFSBelow(real, table)
	for _, h := range withParts(hidden) {
		below, err := hiddenBelow(source, real, h, table)
		if err != nil {
			return nil, err
		}
		masks = append(masks, below...)
	}
	for _, dir := range controlDirs(sockets) {
		below, err := controlsBelow(source, real, dir, table)
		if err != nil {
			return nil, err
		}
		masks = append(masks, below...)
	}
	return outermost(masks), nil
}

// hiddenBelow refuses a source inside the hidden directory and finds that below it.
func hiddenBelow(source, real, hidden string, table []mounts.Entry) ([]string, error) {
	secret, err := secretOf(hidden)
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for dir := real; ; dir = filepath.Dir(dir) {
		if secret.is(dir) {
			return nil, &Error{
				Op:   fmt.Sprintf("expose %s", source),
				Err:  fmt.Errorf("it lies in %s, which holds keys and other sandboxes' tokens", hidden),
				Hint: "copy what the sandbox needs to another directory",
			}
		}
		if dir == "/" {
			break
		}
	}
	return pathsBelow(real, hidden, table)
}

// outermost drops what lies in another one, and what is there twice.
func outermost(paths []string) (outer []string) {
	slices.Sort(paths) // a parent comes before what is in it
	for _, p := range paths {
		if !slices.ContainsFunc(outer, func(o string) bool { return mounts.Within(p, o) }) {
			outer = append(outer, p)
		}
	}
	return outer
}

// pathsBelow finds where hidden shows below source, relative to it: by its own
// name, and through every mount below source whose root leads to it.
func pathsBelow(source, hidden string, table []mounts.Entry) ([]string, error) {
	real, err := filepath.EvalSymlinks(hidden)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	secret, err := secretOf(real)
	if err != nil {
		return nil, err
	}
	var below []string
	add := func(path string) {
		rel, err := filepath.Rel(source, path)
		if err == nil && rel != "." && !strings.HasPrefix(rel, "..") {
			if secret.is(path) {
				below = append(below, rel)
			}
		}
	}
	// The source itself may be a bind mount of an ancestor of hidden, and so
	// may mounts below it: try hidden's path tail under each.
	candidates := map[string]bool{real: true}
	bases := []string{source}
	for _, m := range table {
		if mounts.Below(m.Point, source) {
			bases = append(bases, m.Point)
		}
	}
	for _, base := range bases {
		tail := ""
		for dir := real; ; dir = filepath.Dir(dir) {
			candidates[filepath.Join(base, tail)] = true
			if dir == "/" {
				break
			}
			tail = filepath.Join(filepath.Base(dir), tail)
		}
	}
	for path := range candidates {
		add(path)
	}
	return below, nil
}
