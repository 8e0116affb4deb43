package share

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"openshell-vm/share/blanks"
	"openshell-vm/share/layout"
)

// blankMost is the size in bytes of a new file for which blanks are given up: the metadata of
// many tokens.
const blankMost = 16384

// IsFull reports whether err means that a file system or a quota has no room left.
func IsFull(err error) bool { return isErrno(err, unix.ENOSPC) || isErrno(err, unix.EDQUOT) }

// fill is steps 6 to 8 on a full file system: it makes generation n of a blank.
func (t *txn) fill(n, current uint64, files []File) error {
	err := t.opts.Reserve.Take(func(blank string) error {
		return t.auth.do("take from the reserve", layout.Generation(n), func() error {
			return unix.Renameat(unix.AT_FDCWD, blank, t.auth.fd, layout.Generation(n))
		})
	})
	if err != nil {
		return err
	}
	gen, err := t.auth.openClosed(layout.Generation(n))
	if err != nil {
		return err
	}
	defer gen.close()
	if err := t.auth.do("label", layout.Generation(n), func() error { return copyLabel(t.auth.fd, gen.fd, selinux) }); err != nil {
		return err
	}
	dirs := dirsOf(files)
	if err := t.fillDirs(gen, dirs); err != nil {
		return err
	}
	if err := t.fillFiles(gen, current, files); err != nil {
		return err
	}
	return t.sealAll(gen, dirs)
}

// hold returns what to publish on a full file system: of each file that can be published later,
// what the current generation has. held are those of which that is another content, or none.
func (t *txn) hold(current uint64, files []File) (published []File, held string, err error) {
	now, err := t.auth.openDir(layout.Generation(current))
	if err != nil && !isNotExist(err) {
		return nil, "", err
	}
	defer now.close()
	for _, f := range files {
		if !f.Later || now.fd >= 0 && t.unchanged(now, f) {
			published = append(published, f)
			continue
		}
		held += f.Name + ","
		if now.fd < 0 {
			continue
		}
		if data, st, err := now.readIn(f.Name); err == nil {
			published = append(published, File{Name: f.Name, Data: data, Mode: fs.FileMode(st.Mode).Perm(),
				Owner: &Owner{int(st.Uid), int(st.Gid)}})
		}
	}
	return published, held, nil
}

// fillDirs makes directories of blanks. The files of these go: their room is then anybody's, but
// that of the directories never is.
func (t *txn) fillDirs(gen dir, dirs []string) error {
	for _, name := range dirs {
		err := gen.in(name, func(in dir, base string) error {
			err := t.opts.Reserve.Take(func(blank string) error {
				move := func() error { return unix.Renameat(unix.AT_FDCWD, blank, in.fd, base) }
				return in.do("take from the reserve", base, move)
			})
			if err != nil {
				return err
			}
			sub, err := in.openClosed(base)
			if err != nil {
				return err
			}
			defer sub.close()
			for _, file := range slices.Concat(blanks.Files, blanks.Inodes) {
				err = errors.Join(err, sub.unlink(file, 0))
			}
			return errors.Join(err, sub.do("label", "", func() error { return copyLabel(t.auth.fd, sub.fd, selinux) }))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fillFiles makes the files. It links unchanged ones from the current generation: they
// may be large, and a link needs no room.
func (t *txn) fillFiles(gen dir, current uint64, files []File) error {
	now, err := t.auth.openDir(layout.Generation(current))
	if err != nil && !isNotExist(err) {
		return err
	}
	defer now.close()
	free, inodes := blanks.Files, blanks.Inodes
	for _, f := range files {
		t.step(7)
		switch {
		case now.fd >= 0 && t.unchanged(now, f):
			if err = linkFile(now, gen, f.Name); IsFull(err) && len(inodes) > 0 { // tmpfs counts it as an inode
				err = errors.Join(gen.unlink(inodes[0], 0), linkFile(now, gen, f.Name))
				inodes = inodes[1:]
			} else if IsFull(err) {
				err = errors.Join(t.opts.Reserve.Take(os.RemoveAll), linkFile(now, gen, f.Name))
			}
		case len(f.Data) <= blanks.Block:
			if len(free) == 0 {
				if err = t.takeFiles(gen); err != nil {
					return err
				}
				free = blanks.Files
			}
			err = t.fillFile(gen, free[0], f)
			free = free[1:]
		default: // what the blanks free, somebody else may take first
			for left := len(f.Data); left > 0 && len(f.Data) <= blankMost && err == nil; left -= blanks.Size {
				err = t.opts.Reserve.Take(os.RemoveAll)
			}
			err = t.writeFile(gen, f)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Concat(free, inodes) {
		if err := gen.unlink(name, 0); err != nil {
			return err
		}
	}
	return nil
}

// takeFiles moves the two files of a further blank into a directory.
func (t *txn) takeFiles(into dir) error {
	return t.opts.Reserve.Take(func(blank string) error {
		for _, name := range blanks.Files {
			move := func() error { return unix.Renameat(unix.AT_FDCWD, filepath.Join(blank, name), into.fd, name) }
			if err := into.do("take from the reserve", name, move); err != nil {
				return err
			}
		}
		return os.RemoveAll(blank)
	})
}

// unchanged reports whether gen has this file with the same content, owner and mode.
func (t *txn) unchanged(gen dir, f File) bool {
	data, st, err := gen.readIn(f.Name)
	return err == nil && bytes.Equal(data, f.Data) && t.ownerOf(f).matches(st)
}

// linkFile links a file of a generation into another one.
func linkFile(from, to dir, name string) error {
	return from.in(name, func(old dir, base string) error {
		return to.in(name, func(in dir, base string) error {
			return in.do("link", base, func() error { return unix.Linkat(old.fd, base, in.fd, base, 0) })
		})
	})
}

// fillFile writes f into a file of the blank, and gives that its name.
func (t *txn) fillFile(gen dir, blank string, f File) error {
	fd, err := gen.open(blank, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = gen.do("write", f.Name, func() error {
		return errors.Join(copyLabel(t.auth.fd, fd, selinux), writeAll(fd, f.Data), t.ownerOf(f).apply(fd))
	})
	if err == nil && t.opts.Durable {
		err = gen.do("sync", f.Name, func() error { return fsync(fd) })
	}
	if err != nil {
		return err
	}
	return gen.in(f.Name, func(in dir, base string) error {
		return gen.do("rename", f.Name, func() error { return unix.Renameat(gen.fd, blank, in.fd, base) })
	})
}

// selinux is the attribute with a file's label. A file that is made in a directory gets
// the directory's label. A file that is moved there keeps its own, and a sandbox could
// not read it.
const selinux = "security.selinux"

func copyLabel(from, to int, name string) error {
	var label [256]byte
	n, err := unix.Fgetxattr(from, name, label[:])
	if err == unix.ENODATA || err == unix.ENOTSUP {
		return nil
	}
	var has [256]byte
	if h, _ := unix.Fgetxattr(to, name, has[:]); err == nil && !bytes.Equal(has[:max(h, 0)], label[:n]) {
		err = unix.Fsetxattr(to, name, label[:n], 0)
	}
	return err
}
