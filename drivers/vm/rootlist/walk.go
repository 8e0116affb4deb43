// Package rootlist lists the files of a root directory with all that a stand-in for
// them needs, contents left out. A VM's monitor makes the list, since a host looks at
// a file in microseconds and a guest has to ask a server of the host for each; the
// guest init reads it. Without a list the init walks the root itself.
//
// A tree that is changed meanwhile is listed as it was at some time or other. No
// link leads a walk out of it.
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
	Mode   uint32 // type and permissions, as stat gives them
	UID    uint32
	GID    uint32
	Device uint64 // of a device node
	Size   int64
	Access unix.Timespec
	Modify unix.Timespec
	Target string // of a symbolic link
	// File is the same for all names of a file that has several; zero for others.
	File       [2]uint64
	Attributes []Attribute // extended ones, of regular files and directories
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

// longestName keeps what the guest makes of a name below PATH_MAX.
const longestName = 4000

// piece of a directory is read at a time, in names.
const piece = 500

// Walk calls visit for dir and for all in it, a directory before what is in it.
// masks are paths below dir, without a slash before them, of directories that are to
// seem empty. What can't be read is left out and told.
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

// directory sees what is in one.
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

// miss leaves out what the user may not read, what is gone since, and what the disk
// does not give. Other errors end the walk: a list must not be short for want of
// memory or descriptors.
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

// listAttributes is the system call. Tests answer as libkrun's server does.
var listAttributes = unix.Llistxattr

// attributes are the extended ones of a file or directory. Nobody asks for those of
// other kinds: libkrun's server opens what it is asked about, which a device or a
// socket refuses. One that may not be read shows none.
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
		// An overlay's own would be taken for the guest's.
		if strings.HasPrefix(name, "trusted.") {
			continue
		}
		if n, err := unix.Lgetxattr(file, name, value); err == nil {
			all = append(all, Attribute{name, slices.Clone(value[:n])})
		}
	}
	return all, nil
}
