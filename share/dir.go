package share

import (
	"errors"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// dir is an open directory. Each name given to its methods is one component, and no
// method follows a symbolic link. So nothing that is planted in the directory can lead
// an operation out of it. path is for messages only.
type dir struct {
	fd   int
	path string
}

const (
	openDirFlags  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	openFileFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC // a FIFO must not block
	makeFileFlags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC

	privateDir  = 0o700 // until the final mode is set
	privateFile = 0o600
)

// fsync is a variable so that tests can see its calls and make them fail.
var fsync = unix.Fsync

// openDir opens the directory at path. The last component must not be a link.
func openDir(path string) (dir, error) {
	return dir{fd: unix.AT_FDCWD}.openDirAs(path, path)
}

func (d dir) openDir(name string) (dir, error) {
	return d.openDirAs(name, filepath.Join(d.path, name))
}

func (d dir) openDirAs(name, path string) (dir, error) {
	fd, err := d.open(name, openDirFlags, 0)
	return dir{fd: fd, path: path}, err
}

func (d dir) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
}

// retry repeats a call that a signal interrupted. Some file systems return EINTR for
// calls that never do so on others.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// do runs one system call on name, and names it in the error.
func (d dir) do(op, name string, f func() error) error {
	if err := retry(f); err != nil {
		return &Error{Op: op, Path: filepath.Join(d.path, name), Err: err}
	}
	return nil
}

// open returns a descriptor, or -1 with an error.
func (d dir) open(name string, flags int, mode uint32) (fd int, err error) {
	err = d.do("open", name, func() (e error) {
		fd, e = unix.Openat(d.fd, name, flags, mode)
		return e
	})
	return fd, err
}

// make creates a directory that only its owner can enter, and opens it.
func (d dir) make(name string) (dir, error) {
	if err := d.do("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, privateDir) }); err != nil {
		return dir{fd: -1}, err
	}
	return d.openClosed(name)
}

// openClosed opens a directory of ours and sets its mode to privateDir. An umask or a
// final mode may have taken our own rights to it.
func (d dir) openClosed(name string) (dir, error) {
	sub, err := d.openDir(name)
	if errors.Is(err, unix.EACCES) {
		if err = d.chmodPath(name, privateDir); err == nil {
			sub, err = d.openDir(name)
		}
	}
	if err != nil {
		return sub, err
	}
	if err := sub.own(owner{keep, keep, privateDir}); err != nil {
		sub.close()
		return dir{fd: -1}, err
	}
	return sub, nil
}

// chmodPath changes the mode of a file that can't be opened for reading. Going through
// /proc is the only way to do that without following a link.
func (d dir) chmodPath(name string, mode uint32) error {
	fd, err := d.open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return d.do("chmod", name, func() error { return unix.Chmod(procPath(fd), mode) })
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// own gives the directory itself its final owner and mode.
func (d dir) own(o owner) error {
	return d.do("set owner and mode of", "", func() error { return o.apply(d.fd) })
}

func (d dir) sync() error {
	return d.do("sync", "", func() error { return fsync(d.fd) })
}

func (d dir) symlink(target, name string) error {
	return d.do("link", name, func() error { return unix.Symlinkat(target, d.fd, name) })
}

func (d dir) rename(from, to string) error {
	return d.do("rename", to, func() error { return unix.Renameat(d.fd, from, d.fd, to) })
}

func (d dir) unlink(name string, flags int) error {
	return d.do("remove", name, func() error { return unix.Unlinkat(d.fd, name, flags) })
}

func (d dir) readlink(name string) (target string, err error) {
	var buf [maxName + 32]byte
	n := 0
	err = d.do("read link", name, func() (e error) {
		n, e = unix.Readlinkat(d.fd, name, buf[:])
		return e
	})
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// lstat returns the status of name, which may be a link itself.
func (d dir) lstat(name string) (st unix.Stat_t, err error) {
	err = d.do("stat", name, func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

func (d dir) isDir(name string) bool {
	st, err := d.lstat(name)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// stat returns the status of the directory itself.
func (d dir) stat() (st unix.Stat_t, err error) {
	err = d.do("stat", "", func() error { return unix.Fstat(d.fd, &st) })
	return st, err
}

// list returns all names except "." and "..".
func (d dir) list() ([]string, error) {
	if _, err := unix.Seek(d.fd, 0, 0); err != nil {
		return nil, &Error{Op: "list", Path: d.path, Err: err}
	}
	names := make([]string, 0, 16)
	buf := make([]byte, 4096)
	for {
		n := 0
		err := d.do("list", "", func() (e error) {
			n, e = unix.ReadDirent(d.fd, buf)
			return e
		})
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// removeAll removes name and, if it is a directory, all below it. A missing name is no
// error. If something can't be removed, removeAll still removes the rest.
func (d dir) removeAll(name string) error {
	err := d.unlink(name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !d.isDir(name) { // for a directory unlink fails with EISDIR or EPERM; but EPERM may also mean immutable
		return err
	}
	if d.isMountPoint(name) {
		return &Error{Op: "remove", Path: filepath.Join(d.path, name), Err: unix.EBUSY} // as rmdir would, in the end
	}
	if err := d.empty(name); err != nil {
		return err
	}
	return d.unlink(name, unix.AT_REMOVEDIR)
}

// isMountPoint reports whether another tree is mounted at name. We must not empty that.
// A kernel before 5.8 does not tell: there it returns false.
func (d dir) isMountPoint(name string) bool {
	var st unix.Statx_t
	err := retry(func() error { return unix.Statx(d.fd, name, unix.AT_SYMLINK_NOFOLLOW, 0, &st) })
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// empty removes all below the directory name, even if its mode is read-only. It returns
// the first error.
func (d dir) empty(name string) error {
	sub, err := d.openClosed(name)
	if err != nil {
		return err
	}
	defer sub.close()
	names, err := sub.list()
	for _, name := range names {
		if e := sub.removeAll(name); err == nil {
			err = e
		}
	}
	return err
}

// removeFiles removes files in the directory name and in those below it, whose owner and
// mode are o. Readers can use the directories all the time.
func (d dir) removeFiles(name string, files []string, o owner) error {
	sub, err := d.openDir(name)
	if err != nil {
		return err
	}
	defer sub.close()
	writable := o
	writable.mode |= 0o200
	for _, file := range files {
		e := sub.in(file, func(in dir, base string) error {
			if err := in.own(writable); err != nil {
				return err
			}
			return errors.Join(in.removeAll(base), in.own(o))
		})
		err = errors.Join(err, e)
	}
	return err
}
