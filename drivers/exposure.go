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

// Exposure checks a directory that a sandbox is to see. It refuses a source that lies in a
// hidden directory (state and runtime), that is on one of the kernel's own file systems, or
// that holds control sockets of the host. If such directories are below the source, it
// returns their paths relative to the source, outermost only. The driver mounts an empty
// read-only directory over each. sockets are control sockets beside the well-known ones.
//
// Directories are compared by device and inode, and by the files in them. So they are found
// through bind mounts, symbolic links, overlays and snapshots too. A hidden directory that
// does not exist is skipped.
func Exposure(source string, hidden []string, sockets ...string) (masks []string, err error) {
	_, masks, err = exposure(source, hidden, sockets)
	return masks, err
}

// exposure is Exposure, and also returns the identity of the directory that it checked.
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
	// The kernel knows the real path of this open directory.
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return judged, nil, err
	}
	masks, err = masksBelow(source, real, hidden, sockets, table)
	return judged, masks, err
}

// masksBelow refuses a source or returns what has to be covered below it. real is the
// source's path without symbolic links.
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

// hiddenBelow refuses a source inside the hidden directory. Otherwise it returns where the
// hidden directory shows below the source.
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

// outermost drops duplicates, and paths that lie in another one.
func outermost(paths []string) (outer []string) {
	slices.Sort(paths) // a parent comes before what is in it
	for _, p := range paths {
		if !slices.ContainsFunc(outer, func(o string) bool { return mounts.Within(p, o) }) {
			outer = append(outer, p)
		}
	}
	return outer
}

// pathsBelow returns where hidden shows below source, relative to source: at its own path,
// and in every mount below source through which it can be reached.
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
	// The source, or a mount below it, may be a bind mount of an ancestor of hidden. So try
	// each tail of hidden's path under each of them.
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
