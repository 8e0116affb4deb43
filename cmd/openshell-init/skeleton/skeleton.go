// Package skeleton makes what an overlay needs between it and a directory whose file
// server lets it copy nothing up.
//
// When an overlay copies a file up, it also asks the lower file system for the inode's
// flags. It takes only ENOTTY for "there are none". libkrun (up to 1.19 at least)
// answers EOPNOTSUPP, so nothing in a directory that it serves could be changed. In that
// case the overlay's lower layer is a skeleton of the directory on a tmpfs. It has the
// directory's subdirectories, links and devices. For each regular file it has a stub,
// which has the file's metadata and names the file (overlayfs calls that metacopy). The
// directory itself is a layer for data only.
//
// The skeleton is made anew at each boot, to fit what the host has then. It takes about
// 1.3 KB of memory for each file. Usually the monitor has listed the files, and the init
// does not look at them. Without a list (an older monitor makes none) the init walks the
// directory. libkrun keeps a descriptor open for each name that this kernel remembers,
// and lists a directory short when it has none left. So the walk makes the kernel
// forget names on the way.
package skeleton

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-init/forget"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/rootlist"
)

// overlayfs's attributes that mark a stub and name its file.
const (
	xattrMetacopy = "trusted.overlay.metacopy"
	xattrRedirect = "trusted.overlay.redirect"
)

// Layers returns the overlay's options for the root directory lower. If the directory's
// file server needs a skeleton, it is made at the directory to, on a tmpfs, from the
// monitor's list if that file exists. Meanwhile Layers calls progress about once a second.
func Layers(lower, list, to string, progress func(guest.Progress)) (string, error) {
	dir, err := os.Open(lower)
	if err != nil {
		return "", fmt.Errorf("open the root directory: %w", err)
	}
	defer dir.Close()
	if _, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS); !errors.Is(err, unix.EOPNOTSUPP) {
		return "lowerdir=" + lower, nil
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", to, "tmpfs", 0, "mode=0755,nr_inodes=0"); err != nil {
		return "", fmt.Errorf("mount the root's skeleton: %w", err)
	}
	s := newSkeleton(to)
	ctx, told := context.WithCancel(context.Background())
	go s.tell(ctx, progress)
	err = s.make(lower, list)
	told()
	if err != nil {
		return "", fmt.Errorf("make the root's skeleton: %w", err)
	}
	return fmt.Sprintf("lowerdir=%s::%s,metacopy=on,redirect_dir=on", to, lower), nil
}

// skeleton is a skeleton that is being made in the empty directory to.
type skeleton struct {
	to    string
	dirs  []madeDir
	links map[[2]uint64]string // the first name of each file that has several names

	made, of atomic.Uint64 // entries made, and in all; of is 0 while that is not known
}

type madeDir struct {
	name  string
	mode  uint32
	times []unix.Timespec
}

func newSkeleton(to string) *skeleton {
	return &skeleton{to: to, links: map[[2]uint64]string{}}
}

// make makes the whole skeleton, from the file list if there is one.
func (s *skeleton) make(lower, list string) error {
	defer unix.Umask(unix.Umask(0))
	f, err := os.Open(list)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = s.walk(lower)
	case err == nil:
		defer f.Close()
		err = rootlist.Read(f, s.of.Store, s.add)
	}
	if err != nil {
		return err
	}
	// Directories get their mode and times last. Each new entry changes its directory's
	// times, and in a setgid directory it takes that directory's group.
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

// atOnce is how many names walk looks at before it makes the kernel forget them. It is a
// fraction of 4,096, Linux's default hard limit on a process's descriptors.
const atOnce = 500

// walk adds what is in the directory lower, and asks its file server about each file.
func (s *skeleton) walk(lower string) error {
	unread, err := rootlist.Walk(lower, nil, func(e rootlist.Entry) error {
		if s.made.Load()%atOnce == atOnce-1 {
			if err := forget.Names(); err != nil {
				return fmt.Errorf("forget names: %w", err)
			}
		}
		return s.add(e)
	})
	if unread.Count > 0 {
		log.Printf("%d files and directories of the root can't be read on the host, "+
			"and are missing or empty here: %q for one", unread.Count, unread.First)
	}
	return err
}

// tellEvery is how often tell reports progress.
const tellEvery = time.Second

// tell reports to the host how many entries are made, until ctx ends. It is silent while
// nothing gets on.
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

// makeEntry makes an entry, then sets its owner, mode, attributes and times, in this
// order: a change of owner resets some mode bits and attributes. It leaves a directory's
// mode and times to make.
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

// makeStub makes the stub of a regular file. An empty file needs no marks: it is its own
// copy. Most entries of a root are regular files, so a file that belongs to root and has
// no attributes takes as few system calls as possible.
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

// setAttributes sets the entry's extended attributes, but not those that this kernel
// refuses.
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
