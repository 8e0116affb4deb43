// Package rootlist lists the files of a root directory, with all that a skeleton of it
// needs, but without contents. A VM's monitor makes the list: a host looks at a file in
// microseconds, while a guest has to ask its file server for each. The guest init reads
// the list. Without a list the init walks the root itself.
//
// If the tree changes meanwhile, each entry is right for some moment of the walk. No link
// leads a walk out of the tree.
package rootlist

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Entry is one name in a root.
type Entry struct {
	Name   string // "/etc/passwd"; "" for the root itself. Any bytes but NUL
	Mode   uint32 // type and permissions, as in stat
	UID    uint32
	GID    uint32
	Device uint64 // of a device node
	Size   int64
	Access unix.Timespec
	Modify unix.Timespec
	Target string // of a symbolic link
	// File identifies a file that has several names; all of them have the same File. It
	// is zero for a file with one name.
	File       [2]uint64
	Attributes []Attribute // extended attributes, of regular files and directories
}

// Attribute is an extended attribute.
type Attribute struct {
	Name  string
	Value []byte
}

// Unread is what a walk could not look at.
type Unread struct {
	Count int
	First string // one of them
}

func (u *Unread) add(name string) {
	if u.Count++; u.Count == 1 {
		u.First = name
	}
}

// longestName bounds a name, so that the guest's longer path stays below PATH_MAX.
const longestName = 4000

// piece is how many names of a directory are read at a time.
const piece = 500

// Walk calls visit for dir and for all in it. A directory comes before what is in it. masks
// are directories that must seem empty: paths below dir, without a leading slash. Walk
// leaves out what can't be read, and counts it in Unread.
func Walk(dir string, masks []string, visit func(Entry) error) (Unread, error) {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Unread{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root)
	w := walk{root: root, masks: masks, visit: visit}
	if err := w.see(root, ".", ""); err != nil {
		return w.unread, err
	}
	for len(w.below) > 0 {
		last := len(w.below) - 1
		name := w.below[last]
		w.below = w.below[:last]
		if err := w.directory(name); err != nil {
			return w.unread, err
		}
	}
	return w.unread, nil
}

type walk struct {
	root   int
	masks  []string
	visit  func(Entry) error
	below  []string // directories that are still to be read
	unread Unread
}

// directory looks at all entries of a directory.
func (w *walk) directory(name string) error {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := unix.Openat2(w.root, "."+name, &how)
	if err != nil {
		return w.miss("open", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(piece)
		for _, n := range names {
			if err := w.see(fd, n, name+"/"+n); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return w.miss("read", name, errors.Unwrap(err))
		}
	}
}

// see looks at one entry of an open directory.
func (w *walk) see(dir int, base, name string) error {
	if len(name) > longestName {
		w.unread.add(name[:longestName])
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return w.miss("look at", name, err)
	}
	e := Entry{
		Name: name, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Device: uint64(st.Rdev), Size: st.Size,
		Access: st.Atim, Modify: st.Mtim,
	}
	var err error
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if !slices.Contains(w.masks, strings.TrimPrefix(name, "/")) || name == "" {
			w.below = append(w.below, name)
		}
		e.Attributes, err = attributes(dir, base)
	case unix.S_IFREG:
		e.Attributes, err = attributes(dir, base)
	case unix.S_IFLNK:
		e.Target, err = readlink(dir, base)
	}
	if err != nil {
		return w.miss("look at", name, err)
	}
	if st.Nlink > 1 && e.Mode&unix.S_IFMT != unix.S_IFDIR {
		e.File = [2]uint64{uint64(st.Dev), st.Ino}
	}
	return w.visit(e)
}

// miss counts an entry as unread if the user may not read it, if it is gone by now, or if
// the disk fails. It returns other errors, and these end the walk: a list must not be
// short for want of memory or descriptors.
func (w *walk) miss(what, name string, err error) error {
	for _, known := range []error{
		unix.EACCES, unix.EPERM, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ESTALE, unix.EIO, unix.ENAMETOOLONG,
	} {
		if errors.Is(err, known) {
			w.unread.add(name)
			return nil
		}
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}

func readlink(dir int, base string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, base, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// listAttributes is the system call. Tests replace it by one that answers as libkrun's
// file server does.
var listAttributes = unix.Llistxattr

// attributes returns the extended attributes of a file or directory; none if they may not
// be read. It is not called for other kinds: libkrun's file server opens the file for it,
// and that fails for a device or a socket.
func attributes(dir int, base string) ([]Attribute, error) {
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir, base)
	names := make([]byte, 1<<10)
	n, err := listAttributes(file, names)
	if errors.Is(err, unix.ERANGE) {
		names = make([]byte, 64<<10) // the kernel's limit
		n, err = listAttributes(file, names)
	}
	switch {
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, nil
	case err != nil:
		return nil, err
	case n == 0:
		return nil, nil
	}
	var all []Attribute
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		// The guest's overlay would take an overlay's attributes for its own.
		if strings.HasPrefix(name, "trusted.") {
			continue
		}
		if n, err := unix.Lgetxattr(file, name, value); err == nil {
			all = append(all, Attribute{name, slices.Clone(value[:n])})
		}
	}
	return all, nil
}
