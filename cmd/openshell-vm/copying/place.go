// Package copying is cp: files from a sandbox to this host and back, by docker cp's rules.
package copying

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/internal/tree"
)

// Argument is one of cp's two: a path here, or one in a sandbox.
type Argument struct {
	Sandbox string // "" for this host
	Path    string
}

// Parse reads an argument as docker does. What begins with a slash or a dot is a path here,
// also if it holds a colon.
func Parse(arg string) Argument {
	sandbox, file, remote := strings.Cut(arg, ":")
	if !remote || filepath.IsAbs(arg) || strings.HasPrefix(sandbox, ".") {
		return Argument{Path: arg}
	}
	return Argument{sandbox, file}
}

func (a Argument) String() string {
	if a.Sandbox == "" {
		return a.Path
	}
	return a.Sandbox + ":" + a.Path
}

// Stream is the path that stands for standard input or output.
const Stream = "-"

// keepEnd gives a cleaned path the end that the user's had: "/" and "/." ask for a
// directory.
func keepEnd(typed, clean string) string {
	switch {
	case isContent(typed) && !isContent(clean):
		return strings.TrimSuffix(clean, "/") + "/."
	case strings.HasSuffix(typed, "/") && !strings.HasSuffix(clean, "/"):
		return clean + "/"
	}
	return clean
}

// isContent reports whether a path stands for a directory's content.
func isContent(p string) bool { return path.Base(p) == "." || strings.HasSuffix(p, "/.") }

// wantsDir reports whether a path asks for a directory.
func wantsDir(p string) bool { return strings.HasSuffix(p, "/") || isContent(p) }

// inside makes a path in a sandbox absolute. As with docker, it counts from the root.
func inside(p string) string { return keepEnd(p, path.Join("/", p)) }

// place is what a destination's path names.
type place struct {
	path   string
	exists bool
	isDir  bool
}

// source is what is copied: the name that it brings along, "." for a directory's content.
type source struct {
	base  string
	isDir bool
}

// decide returns where a copy goes: what it is called in which directory.
func decide(from source, to place) (dir, name string, err error) {
	parent, base := path.Split(path.Clean(to.path))
	switch {
	case to.exists && to.isDir:
		return to.path, from.base, nil
	case to.exists && from.isDir:
		return "", "", say.Errorf("name a directory, or a path that does not exist", "cannot copy directory to the file %s", to.path)
	case !to.exists && !from.isDir && wantsDir(to.path):
		return "", "", say.Errorf("make the directory first, or leave the slash at the end out", "no such directory: %s", to.path)
	}
	return path.Clean(parent), base, nil
}

// maxLinks bounds a chain of links, as the kernel does.
const maxLinks = 40

// localPlace looks at a destination on this host. It follows links, also one that leads to
// nothing yet.
func localPlace(typed string) (place, error) {
	file, err := filepath.Abs(typed)
	if err != nil {
		return place{}, err
	}
	if err := checkOutput(typed, file); err != nil {
		return place{}, err
	}
	for range maxLinks {
		info, err := os.Lstat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return place{path: keepEnd(typed, file)}, nil
		case err != nil:
			return place{}, err
		case info.Mode()&fs.ModeSymlink == 0:
			return place{path: file, exists: true, isDir: info.IsDir()}, nil
		}
		link, err := os.Readlink(file)
		if err != nil {
			return place{}, err
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(file), link)
		}
		file = filepath.Clean(link)
	}
	return place{}, fmt.Errorf("%s: too many levels of symbolic links", typed)
}

// checkOutput refuses a destination that can't be one, in docker's words.
func checkOutput(typed, file string) error {
	const hint = "name a file or a directory, whose parent exists; - is standard output"
	if parent := filepath.Dir(file); !exists(parent) {
		return say.Errorf(hint, "invalid output path: directory %q does not exist", parent)
	}
	info, err := os.Stat(file)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return say.Errorf(hint, "invalid output path: %q must be a directory or a regular file", typed)
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// localSource looks at a source on this host: the path that is packed, and what it is. A
// link is copied as a link, unless follow is set or the path ends in a slash.
func localSource(typed string, follow bool) (string, source, error) {
	if typed == "" {
		return "", source{}, errNoSource
	}
	file, err := filepath.Abs(typed)
	if err != nil {
		return "", source{}, err
	}
	file = keepEnd(typed, file)
	base := tree.Base(strings.TrimSuffix(file, "/"))
	if isContent(file) {
		base = "."
	}
	if follow {
		if file, err = filepath.EvalSymlinks(file); err != nil {
			return "", source{}, err
		}
		file = keepEnd(typed, file)
	}
	info, err := os.Lstat(file)
	if err != nil {
		return "", source{}, err
	}
	return file, source{base, info.IsDir()}, nil
}

var errNoSource = say.Errorf("name a file or a directory; - is standard input", "source can not be empty")
