package share

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// Reserve is room for generations that is set aside while the file system has some. When
// the file system is full, a publish takes its room from the reserve.
//
// A reserve is a directory of blanks. A blank is a directory with two files whose blocks
// are allocated, and four empty files. A publish renames a blank into its place, writes
// into the two files and renames them. So the room that is set aside is never free: a
// program that takes every byte as soon as it is free gets none of it. A publish links
// further files from the current generation if they have not changed there. On tmpfs a
// link counts as an inode. For that the publish removes an empty file, and for a moment
// its inode is free for others.
//
// A reserve is enough for as many publishes of two new files as it has blanks: BlanksFor says
// what more files and directories take. The next Keep makes
// superseded generations' room into blanks again, if nobody else takes it first.
//
// All methods may be called concurrently. Only one process may use a reserve at a time.
type Reserve struct {
	path string

	mu     sync.Mutex
	blanks []string // their names
	made   int      // number of the last name
}

const (
	blankForm  = "blank-%08d"
	blankNew   = "new" // a blank that is being made
	blankBlock = 4096  // bytes of each file; a token and its metadata have less
	blankMost  = 16384 // bytes of a new file for which blanks are given up: the metadata of many tokens

	// BlankSize is how many bytes a blank takes up, directory and files, on a file
	// system with blocks of 4 KiB.
	BlankSize = 3 * blankBlock
)

// The files of a blank. No published name can be among these.
var (
	blankFiles  = []string{"..0", "..1"} // with one block each
	blankInodes = []string{"..2", "..3", "..4", "..5"}
)

// BlanksFor returns how many blanks one publish with so many new files takes, each of at most
// 4 KiB, and with so many directories.
func BlanksFor(files, dirs int) int {
	return max(1, (files+len(blankFiles)-1)/len(blankFiles)) + dirs
}

// IsFull reports whether err means that a file system or a quota has no room left.
func IsFull(err error) bool { return isErrno(err, unix.ENOSPC) || isErrno(err, unix.EDQUOT) }

// OpenReserve returns the reserve at path, whose parent exists. Keep makes the
// directory. OpenReserve takes over an earlier process's blanks by their names, and
// removes everything else. It does not look into the blanks, since there may be
// thousands and renewals wait; each is checked when it is taken.
func OpenReserve(path string) (*Reserve, error) {
	entries, err := os.ReadDir(path)
	if isNotExist(err) {
		err = nil
	} else if err != nil {
		return nil, err
	}
	r := &Reserve{path: path}
	for _, e := range entries {
		var n int
		_, scan := fmt.Sscanf(e.Name(), blankForm, &n)
		if scan != nil {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
			continue
		}
		r.blanks, r.made = append(r.blanks, e.Name()), max(r.made, n)
	}
	return r, err
}

// isBlank reports whether a directory is a whole blank, with its blocks.
func isBlank(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(blankFiles)+len(blankInodes) {
		return false
	}
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(dir, e.Name()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Size != 0 ||
			slices.Contains(blankFiles, e.Name()) && st.Blocks*512 < blankBlock {
			return false
		}
	}
	return true
}

// Len returns the number of blanks.
func (r *Reserve) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.blanks)
}

// Keep makes or removes blanks until there are n. If IsFull holds for the error, there is
// no room for more now. Any other error means that this file system can't set room aside.
func (r *Reserve) Keep(n int) error {
	r.forget()
	for {
		r.mu.Lock()
		var err error
		have := len(r.blanks)
		switch {
		case have < n:
			err = r.make()
		case have > n:
			err = os.RemoveAll(filepath.Join(r.path, r.pop()))
		}
		r.mu.Unlock()
		if err != nil || have == n {
			return err
		}
	}
}

// forget drops the names of blanks that others have removed.
func (r *Reserve) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]bool{}
	entries, _ := os.ReadDir(r.path)
	for _, e := range entries {
		there[e.Name()] = true
	}
	r.blanks = slices.DeleteFunc(r.blanks, func(name string) bool { return !there[name] })
}

// make adds a blank. The caller holds r.mu.
func (r *Reserve) make() error {
	r.made++
	name := fmt.Sprintf(blankForm, r.made)
	dir := filepath.Join(r.path, blankNew)
	err := os.Mkdir(dir, 0o700)
	if isNotExist(err) {
		err = errors.Join(os.Mkdir(r.path, 0o700), os.Mkdir(dir, 0o700))
	}
	for _, file := range slices.Concat(blankFiles, blankInodes) {
		if err == nil {
			err = allocate(filepath.Join(dir, file), slices.Contains(blankFiles, file))
		}
	}
	if err == nil {
		err = os.Rename(dir, filepath.Join(r.path, name))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	r.blanks = append(r.blanks, name)
	return nil
}

// allocate makes an empty file, with one block if block is true.
func allocate(path string, block bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, privateFile)
	if err != nil {
		return err
	}
	defer f.Close()
	if !block {
		return nil
	}
	err = retry(func() error { return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, blankBlock) })
	if err != nil {
		return &Error{Op: "set room aside in", Path: filepath.Dir(filepath.Dir(path)), Err: err}
	}
	return nil
}

// pop takes the last blank's name. The caller holds r.mu and knows that there is one.
func (r *Reserve) pop() string {
	name := r.blanks[len(r.blanks)-1]
	r.blanks = r.blanks[:len(r.blanks)-1]
	return name
}

// errNoBlank means that the reserve is empty.
var errNoBlank = errors.New("the reserve is used up")

// take calls rename with a whole blank. rename moves it to where it is needed.
func (r *Reserve) take(rename func(blank string) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.blanks) > 0 {
		blank := filepath.Join(r.path, r.pop())
		if !isBlank(blank) {
			_ = os.RemoveAll(blank)
			continue
		}
		err := rename(blank)
		if !isNotExist(err) { // else somebody has removed the blank: try the next
			return err
		}
	}
	return errNoBlank
}

// File makes an empty file of mode 0600 at path that has a block, and opens it for
// writing. It replaces a file that is there. For a size of more than one block it also
// frees further blanks. Somebody else may take their room first.
func (r *Reserve) File(path string, size int) (f *os.File, err error) {
	for size -= blankBlock; err == nil && size > 0; size -= 2 * blankBlock {
		err = r.take(os.RemoveAll)
	}
	if err != nil {
		return nil, err
	}
	err = r.take(func(blank string) error {
		if err := os.Rename(filepath.Join(blank, blankFiles[0]), path); err != nil {
			return err
		}
		return os.RemoveAll(blank)
	})
	if err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
}

// fill is steps 6 to 8 on a full file system: it makes generation n of a blank.
func (t *txn) fill(n, current uint64, files []File) error {
	err := t.opts.Reserve.take(func(blank string) error {
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
	t.step(8)
	if err := t.sealDirs(gen, dirs); err != nil {
		return err
	}
	return t.seal(gen)
}

// fillDirs makes directories of blanks. The files of these go: their room is then anybody's, but
// that of the directories never is.
func (t *txn) fillDirs(gen dir, dirs []string) error {
	for _, name := range dirs {
		err := gen.in(name, func(in dir, base string) error {
			err := t.opts.Reserve.take(func(blank string) error {
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
			for _, file := range slices.Concat(blankFiles, blankInodes) {
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
	blanks, inodes := blankFiles, blankInodes
	for _, f := range files {
		t.step(7)
		switch {
		case now.fd >= 0 && t.unchanged(now, f):
			if err = linkFile(now, gen, f.Name); IsFull(err) && len(inodes) > 0 { // tmpfs counts it as an inode
				err = errors.Join(gen.unlink(inodes[0], 0), linkFile(now, gen, f.Name))
				inodes = inodes[1:]
			}
		case len(f.Data) <= blankBlock:
			if len(blanks) == 0 {
				if err = t.opts.Reserve.takeFiles(gen); err != nil {
					return err
				}
				blanks = blankFiles
			}
			err = t.fillFile(gen, blanks[0], f)
			blanks = blanks[1:]
		default: // what the blanks free, somebody else may take first
			for left := len(f.Data); left > 0 && len(f.Data) <= blankMost && err == nil; left -= BlankSize {
				err = t.opts.Reserve.take(os.RemoveAll)
			}
			err = t.writeFile(gen, f)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Concat(blanks, inodes) {
		if err := gen.unlink(name, 0); err != nil {
			return err
		}
	}
	return nil
}

// takeFiles moves the two files of a further blank into a directory.
func (r *Reserve) takeFiles(into dir) error {
	return r.take(func(blank string) error {
		for _, name := range blankFiles {
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
