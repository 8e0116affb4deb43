package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// When an overlay copies something up it also asks the lower file system for
// the inode's flags, and takes only ENOTTY for "there are none". libkrun (up to
// 1.19 at least) says EOPNOTSUPP, and so nothing of a directory that it serves
// could be changed. There the overlay's lower layer is a skeleton of that
// directory on a tmpfs: its directories, links and devices, and for each
// regular file a stub with the file's metadata that names the file (overlayfs
// calls that metacopy). The directory itself is a layer for data only.
//
// The skeleton is made anew at each boot, so that it fits what the host has; it
// takes a look at each file and about a kilobyte of memory for it. libkrun has a
// descriptor open for each name that this kernel remembers, and lists a directory
// short when it has none left, so the names are forgotten on the way.

// overlay's names for a stub and for the file it stands for.
const (
	xattrMetacopy = "trusted.overlay.metacopy"
	xattrRedirect = "trusted.overlay.redirect"
)

// lowerLayers gives the overlay's options for a lower directory.
func lowerLayers(lower, skeleton string) (string, error) {
	dir, err := os.Open(lower)
	if err != nil {
		return "", fmt.Errorf("open the root directory: %w", err)
	}
	defer dir.Close()
	if _, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS); !errors.Is(err, unix.EOPNOTSUPP) {
		return "lowerdir=" + lower, nil
	}
	if err := os.MkdirAll(skeleton, 0o700); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", skeleton, "tmpfs", 0, "mode=0755,nr_inodes=0"); err != nil {
		return "", fmt.Errorf("mount the root's skeleton: %w", err)
	}
	if err := makeSkeleton(lower, skeleton); err != nil {
		return "", fmt.Errorf("make the root's skeleton: %w", err)
	}
	return fmt.Sprintf("lowerdir=%s::%s,metacopy=on,redirect_dir=on", skeleton, lower), nil
}

// makeSkeleton fills the empty directory skeleton. Both lie in different file
// systems.
func makeSkeleton(from, skeleton string) error {
	s := skeletonMaker{from: from, to: skeleton, links: map[[2]uint64]string{}}
	if err := s.visit(from); err != nil {
		return err
	}
	if err := s.walk(from); err != nil {
		return err
	}
	// Last, since each entry made in a directory changes its time.
	for _, dir := range slices.Backward(s.dirs) {
		if err := setTimes(dir.name, &dir.stat); err != nil {
			return err
		}
	}
	return nil
}

type skeletonMaker struct {
	from, to string
	visited  int
	dirs     []madeDir
	links    map[[2]uint64]string // files with several names, by device and inode
}

type madeDir struct {
	name string
	stat unix.Stat_t
}

// atOnce is how many names are asked for before they are forgotten: a fraction
// of the 4,096 descriptors that Linux gives a process where nobody gave it more.
const atOnce = 500

// walk visits what is in a directory, and then what is below.
func (s *skeletonMaker) walk(name string) error {
	dir, err := os.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		logf("%s may not be read on the host: it is empty here", strings.TrimPrefix(name, s.from))
		return nil
	} else if err != nil {
		return err
	}
	defer dir.Close()
	var below []string
	for {
		entries, err := dir.ReadDir(atOnce)
		for _, e := range entries {
			entry := filepath.Join(name, e.Name())
			if err := s.visit(entry); err != nil {
				return err
			}
			if e.IsDir() {
				below = append(below, entry)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	dir.Close()
	for _, name := range below {
		if err := s.walk(name); err != nil {
			return err
		}
	}
	return nil
}

// visit makes the skeleton of one name.
func (s *skeletonMaker) visit(name string) error {
	if s.visited++; s.visited%atOnce == 0 {
		if err := forgetNames(); err != nil {
			return fmt.Errorf("forget names: %w", err)
		}
	}
	rel := strings.TrimPrefix(name, s.from)
	target := s.to + rel
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	id := [2]uint64{uint64(st.Dev), st.Ino}
	if first := s.links[id]; first != "" {
		return os.Link(first, target)
	}
	if err := s.make(name, rel, target, &st); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		s.dirs = append(s.dirs, madeDir{target, st})
		return nil
	}
	if st.Nlink > 1 {
		s.links[id] = target
	}
	return setTimes(target, &st)
}

// make makes one entry with its owner, mode and attributes.
func (s *skeletonMaker) make(name, rel, target string, st *unix.Stat_t) error {
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if rel != "" {
			err = unix.Mkdir(target, 0o700)
		}
	case unix.S_IFLNK:
		var to string
		if to, err = os.Readlink(name); err == nil {
			err = os.Symlink(to, target)
		}
		return errors.Join(err, os.Lchown(target, int(st.Uid), int(st.Gid)))
	case unix.S_IFREG:
		err = makeStub(target, rel, st.Size)
	default:
		err = unix.Mknod(target, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	if err := os.Lchown(target, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(target, st.Mode&0o7777); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return nil // the host's server opens what it is asked about, which a device or a socket refuses
	}
	return copyAttributes(name, target)
}

func makeStub(target, rel string, size int64) error {
	fd, err := unix.Open(target, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, size); err != nil {
		return err
	}
	if size == 0 {
		return nil // nothing to look for
	}
	return errors.Join(unix.Fsetxattr(fd, xattrMetacopy, nil, 0), unix.Fsetxattr(fd, xattrRedirect, []byte(rel), 0))
}

// listAttributes is the system call. Tests answer as libkrun's server does.
var listAttributes = unix.Llistxattr

// copyAttributes copies extended attributes: file capabilities, access lists.
// After the owner, since a change of owner removes capabilities.
func copyAttributes(from, to string) error {
	names := make([]byte, 4<<10)
	n, err := listAttributes(from, names)
	switch {
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS):
		return nil
	case errors.Is(err, unix.EACCES):
		return nil // the host's user may not read the file: nobody in the guest can
	case err != nil:
		return fmt.Errorf("list attributes: %w", err)
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		n, err := unix.Lgetxattr(from, name, value)
		if err == nil {
			err = unix.Lsetxattr(to, name, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("copy the attribute %s: %w", name, err)
		}
	}
	return nil
}

func setTimes(name string, st *unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return nil
}
