package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/rootlist"
)

// When an overlay copies something up it also asks the lower file system for
// the inode's flags, and takes only ENOTTY for "there are none". libkrun (up to
// 1.19 at least) says EOPNOTSUPP, and so nothing of a directory that it serves
// could be changed. There the overlay's lower layer is a skeleton of that
// directory on a tmpfs: its directories, links and devices, and for each
// regular file a stub with the file's metadata that names the file (overlayfs
// calls that metacopy). The directory itself is a layer for data only.
//
// The skeleton is made anew at each boot, so that it fits what the host has, and
// takes about a kilobyte of memory for each file. The monitor has listed the files:
// then none of them is looked at here. A monitor of another version has not, and
// the init walks the directory. libkrun has a descriptor open for each name that
// this kernel remembers, and lists a directory short when it has none left, so the
// names are forgotten on the way.

// overlay's names for a stub and for the file it stands for.
const (
	xattrMetacopy = "trusted.overlay.metacopy"
	xattrRedirect = "trusted.overlay.redirect"
)

// lowerLayers gives the overlay's options for the root's directory. progress is
// called while a skeleton is made.
func lowerLayers(where layout, skeleton string, progress func(guest.Progress)) (string, error) {
	dir, err := os.Open(where.lower)
	if err != nil {
		return "", fmt.Errorf("open the root directory: %w", err)
	}
	defer dir.Close()
	if _, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS); !errors.Is(err, unix.EOPNOTSUPP) {
		return "lowerdir=" + where.lower, nil
	}
	if err := os.MkdirAll(skeleton, 0o700); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", skeleton, "tmpfs", 0, "mode=0755,nr_inodes=0"); err != nil {
		return "", fmt.Errorf("mount the root's skeleton: %w", err)
	}
	s := newSkeleton(skeleton)
	ctx, told := context.WithCancel(context.Background())
	go s.tell(ctx, progress)
	err = s.make(where)
	told()
	if err != nil {
		return "", fmt.Errorf("make the root's skeleton: %w", err)
	}
	return fmt.Sprintf("lowerdir=%s::%s,metacopy=on,redirect_dir=on", skeleton, where.lower), nil
}

// skeleton is one that is being made in the empty directory to.
type skeleton struct {
	to    string
	dirs  []madeDir
	links map[[2]uint64]string // the first name of each file that has several

	made, of atomic.Uint64 // entries; of is 0 while it is not known
}

type madeDir struct {
	name  string
	mode  uint32
	times []unix.Timespec
}

func newSkeleton(to string) *skeleton {
	return &skeleton{to: to, links: map[[2]uint64]string{}}
}

// make makes all of it, from the list if there is one.
func (s *skeleton) make(where layout) error {
	defer unix.Umask(unix.Umask(0))
	list, err := os.Open(filepath.Join(where.shares, guest.BootDir, guest.RootListFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = s.walk(where.lower)
	case err == nil:
		defer list.Close()
		err = rootlist.Read(list, s.of.Store, s.add)
	}
	if err != nil {
		return err
	}
	// Last, since each entry made in a directory changes its time, and takes its group
	// from one that is setgid.
	for _, dir := range slices.Backward(s.dirs) {
		if err := unix.Chmod(dir.name, dir.mode); err != nil {
			return &fs.PathError{Op: "chmod", Path: dir.name, Err: err}
		}
		if err := setTimes(dir.name, dir.times); err != nil {
			return err
		}
	}
	return nil
}

// atOnce is how many names are asked for before they are forgotten: a fraction
// of the 4,096 descriptors that Linux gives a process where nobody gave it more.
const atOnce = 500

// walk adds what is in a directory, which is looked at through its server.
func (s *skeleton) walk(lower string) error {
	unread, err := rootlist.Walk(lower, nil, func(e rootlist.Entry) error {
		if s.made.Load()%atOnce == atOnce-1 {
			if err := forgetNames(); err != nil {
				return fmt.Errorf("forget names: %w", err)
			}
		}
		return s.add(e)
	})
	if unread.Count > 0 {
		logf("%d files and directories of the root can't be read on the host, "+
			"and are missing or empty here: %q for one", unread.Count, unread.First)
	}
	return err
}

// tellEvery is how often the host is told.
const tellEvery = time.Second

// tell tells the host how far it is, until ctx ends. What hangs is no progress.
func (s *skeleton) tell(ctx context.Context, progress func(guest.Progress)) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for last := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n := s.made.Load(); n > last {
			last = n
			progress(guest.Progress{Files: n, Of: s.of.Load()})
		}
	}
}

// add makes one entry.
func (s *skeleton) add(e rootlist.Entry) error {
	s.made.Add(1)
	target := s.to + e.Name
	several := e.File != [2]uint64{}
	if first := s.links[e.File]; several && first != "" {
		return os.Link(first, target)
	}
	err := makeEntry(e, target)
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	if several {
		s.links[e.File] = target
	}
	if e.Mode&unix.S_IFMT == unix.S_IFDIR {
		s.dirs = append(s.dirs, madeDir{target, e.Mode & 0o7777, times(e)})
	}
	return nil
}

func times(e rootlist.Entry) []unix.Timespec { return []unix.Timespec{e.Access, e.Modify} }

// makeEntry makes it with its owner, mode, attributes and times: in this order, since
// a change of owner removes some of both. A directory's mode and times are left to make.
func makeEntry(e rootlist.Entry, target string) error {
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return makeStub(e, target)
	case unix.S_IFDIR:
		if e.Name != "" {
			if err := unix.Mkdir(target, 0o700); err != nil {
				return err
			}
		}
		if err := os.Lchown(target, int(e.UID), int(e.GID)); err != nil {
			return err
		}
		return setAttributes(e, func(name string, value []byte) error { return unix.Lsetxattr(target, name, value, 0) })
	case unix.S_IFLNK:
		if err := unix.Symlink(e.Target, target); err != nil {
			return err
		}
		return errors.Join(os.Lchown(target, int(e.UID), int(e.GID)), setTimes(target, times(e)))
	}
	if err := unix.Mknod(target, e.Mode, int(e.Device)); err != nil {
		return err
	}
	return errors.Join(os.Lchown(target, int(e.UID), int(e.GID)), setTimes(target, times(e)))
}

// makeStub makes what stands for a regular file. An empty one stands for itself. Most
// of a root are these: a file of root's without attributes takes as few calls as can be.
func makeStub(e rootlist.Entry, target string) error {
	fd, err := unix.Open(target, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, e.Mode&0o7777)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if e.UID != 0 || e.GID != 0 {
		if err := errors.Join(unix.Fchown(fd, int(e.UID), int(e.GID)), unix.Fchmod(fd, e.Mode&0o7777)); err != nil {
			return err
		}
	}
	if e.Size > 0 {
		err := errors.Join(unix.Ftruncate(fd, e.Size),
			unix.Fsetxattr(fd, xattrMetacopy, nil, 0), unix.Fsetxattr(fd, xattrRedirect, []byte(e.Name), 0))
		if err != nil {
			return err
		}
	}
	if err := setAttributes(e, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
		return err
	}
	return unix.UtimesNanoAt(fd, "", times(e), unix.AT_EMPTY_PATH)
}

// setAttributes leaves out what this kernel has no use for.
func setAttributes(e rootlist.Entry, set func(name string, value []byte) error) error {
	for _, a := range e.Attributes {
		err := set(a.Name, a.Value)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("copy the attribute %q: %w", a.Name, err)
		}
	}
	return nil
}

func setTimes(name string, times []unix.Timespec) error {
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return nil
}
