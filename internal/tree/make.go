package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// make makes an entry in the last level.
func (u *unpacker) make(h *tar.Header, name string, content io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return u.descend(name, h)
	}
	var create func() error
	switch h.Typeflag {
	case tar.TypeReg, 0: // 0 is an old form
		return u.file(h, name, content)
	case tar.TypeSymlink:
		create = func() error { return unix.Symlinkat(h.Linkname, u.at(), name) }
	case tar.TypeLink:
		return u.link(h, name)
	case tar.TypeFifo:
		create = func() error { return unix.Mknodat(u.at(), name, unix.S_IFIFO|0o600, 0) }
	case tar.TypeChar, tar.TypeBlock:
		if !u.opt.Devices {
			u.done.Entries--
			u.done.leaveOut(h.Name + " is a device")
			return nil
		}
		create = func() error { return u.device(h, name) }
	default:
		u.done.Entries--
		u.done.leaveOut(fmt.Sprintf("%s is of a kind that is not known here (%q)", h.Name, h.Typeflag))
		return nil
	}
	if err := u.clear(name); err != nil {
		return err
	}
	if err := create(); err != nil {
		return u.problem("make", name, err)
	}
	return u.dressAt(name, h)
}

func (u *unpacker) device(h *tar.Header, name string) error {
	kind := uint32(unix.S_IFCHR)
	if h.Typeflag == tar.TypeBlock {
		kind = unix.S_IFBLK
	}
	return unix.Mknodat(u.at(), name, kind|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
}

func (u *unpacker) problem(op, name string, err error) error {
	return &os.PathError{Op: op, Path: filepath.Join(u.last().path, name), Err: err}
}

// clear removes what has the name. It leaves a directory.
func (u *unpacker) clear(name string) error {
	err := unix.Unlinkat(u.at(), name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.EPERM) && u.isDir(name):
		return fmt.Errorf("cannot overwrite directory %q with non-directory %q", filepath.Join(u.last().path, name), name)
	}
	return u.problem("replace", name, err)
}

func (u *unpacker) isDir(name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(u.at(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// file writes a regular file. If that fails, nothing of it is left.
func (u *unpacker) file(h *tar.Header, name string, content io.Reader) error {
	if err := u.clear(name); err != nil {
		return err
	}
	fd, err := unix.Openat(u.at(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return u.problem("create", name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(u.last().path, name))
	n, err := io.CopyBuffer(onlyWriter{f}, content, u.buf)
	u.done.Bytes += n
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrCut
	}
	if err == nil {
		err = u.dress(f, h)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		u.done.Entries--
		_ = unix.Unlinkat(u.at(), name, 0) // err says what was wrong
	}
	return err
}

// onlyWriter hides a file's ReadFrom, so that the buffer is used.
type onlyWriter struct{ io.Writer }

// link makes a further name for a file of the archive.
func (u *unpacker) link(h *tar.Header, name string) error {
	target, err := u.rename(h.Linkname)
	if err != nil {
		return err
	}
	from, base, err := u.walk(target)
	if err != nil {
		return fmt.Errorf("link %q to %q: %w", h.Name, h.Linkname, err)
	}
	if from != u.at() {
		defer unix.Close(from)
	}
	var st, old unix.Stat_t
	if err := unix.Fstatat(from, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("link %q to %q: %w", h.Name, h.Linkname, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return refuse(h.Name, "it is a link to a directory")
	}
	if unix.Fstatat(u.at(), name, &old, unix.AT_SYMLINK_NOFOLLOW) == nil && old.Dev == st.Dev && old.Ino == st.Ino {
		return nil // it is there already
	}
	if err := u.clear(name); err != nil {
		return err
	}
	if err := unix.Linkat(from, base, u.at(), name, 0); err != nil {
		return u.problem("link", name, err)
	}
	return nil
}

// walk opens the directory that a name is in, from the top. It follows no link. If that is
// the last level, its descriptor is returned.
func (u *unpacker) walk(name string) (dir int, base string, err error) {
	parent, base := path.Split(name)
	if parent = strings.Trim(parent, "/"); parent == strings.Join(u.names(), "/") {
		return u.at(), base, nil
	}
	dir, err = unix.FcntlInt(u.stack[0].dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil || parent == "" {
		return dir, base, err
	}
	for _, element := range strings.Split(parent, "/") {
		next, err := unix.Openat(dir, element, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(dir)
		if err != nil {
			return -1, "", err
		}
		dir = next
	}
	return dir, base, nil
}

// names are those of the levels below the top.
func (u *unpacker) names() (names []string) {
	for _, l := range u.stack[1:] {
		names = append(names, l.name)
	}
	return names
}

// mode is what an entry's mode becomes here.
func (u *unpacker) mode(h *tar.Header) uint32 {
	mode := uint32(h.Mode) & 0o7777
	if !u.opt.Privileges {
		mode &^= 0o6000
	}
	return mode
}

// dress sets owner, mode, capabilities and time of an open file, in this order: a new owner
// takes the others away.
func (u *unpacker) dress(f *os.File, h *tar.Header) error {
	if u.opt.Owners {
		if err := f.Chown(h.Uid, h.Gid); err != nil {
			return err
		}
	}
	fd := int(f.Fd())
	if err := unix.Fchmod(fd, u.mode(h)); err != nil {
		return &os.PathError{Op: "chmod", Path: f.Name(), Err: err}
	}
	if value := h.PAXRecords[capabilityKey]; u.opt.Privileges && value != "" && h.Typeflag != tar.TypeDir {
		if err := unix.Fsetxattr(fd, capability, []byte(value), 0); err != nil {
			return &os.PathError{Op: "set the capabilities of", Path: f.Name(), Err: err}
		}
	}
	if err := unix.UtimesNanoAt(fd, "", times(h), unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "set the time of", Path: f.Name(), Err: err}
	}
	return nil
}

// dressAt is dress for what can't be opened.
func (u *unpacker) dressAt(name string, h *tar.Header) error {
	if u.opt.Owners {
		if err := unix.Fchownat(u.at(), name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return u.problem("chown", name, err)
		}
	}
	if h.Typeflag != tar.TypeSymlink { // nobody else makes links here: it is what was made
		if err := unix.Fchmodat(u.at(), name, u.mode(h), 0); err != nil {
			return u.problem("chmod", name, err)
		}
	}
	if err := unix.UtimesNanoAt(u.at(), name, times(h), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return u.problem("set the time of", name, err)
	}
	return nil
}

// times are an entry's time, as the last access and the last change.
func times(h *tar.Header) []unix.Timespec {
	t := unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())}
	return []unix.Timespec{t, t}
}
