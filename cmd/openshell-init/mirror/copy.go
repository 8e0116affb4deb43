package mirror

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// take copies generation n. Until the copy is complete only root can enter it, and nothing leads
// to it. After an error nothing of it is left.
//
//  1. Ask whether it fits: to read a large share takes seconds, and may be in vain.
//  2. Make its directory, and copy all files and directories, each with its mode, owner and time.
//  3. Look whether the generation is still complete in the share: then it was all the time.
//  4. Give the directories their modes, owners and times, the topmost last.
func (m *Mirror) take(n uint64) (err error) {
	name := layout.Generation(n)
	from, err := m.share.OpenRoot(name)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := m.copy.RemoveAll(name); err != nil {
		return err
	}
	if err := fits(from, m.copy); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = m.copy.RemoveAll(name) // the next try removes what is left
		}
	}()
	if err := m.copy.Mkdir(name, 0o700); err != nil {
		return err
	}
	to, err := m.copy.OpenRoot(name)
	if err != nil {
		return err
	}
	defer to.Close()
	dirs, err := copyFiles(from, to)
	if err != nil {
		return err
	}
	if !m.complete(n) {
		return errPruned
	}
	for _, dir := range slices.Backward(dirs) {
		if err := likeDir(from, to, dir); err != nil {
			return err
		}
	}
	return nil
}

// fits fails with ENOSPC if the files in from take more room than there is where to lies. The room may be
// taken afterwards, so a copy can fail all the same.
func fits(from, to *os.Root) error {
	dir, err := to.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var room unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &room); err != nil {
		return err
	}
	needed, block := uint64(0), uint64(room.Bsize)
	err = fs.WalkDir(from.FS(), ".", func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		needed += (uint64(info.Size()) + block - 1) / block
		return nil
	})
	if err == nil && room.Blocks > 0 && needed > room.Bavail {
		return fmt.Errorf("the share takes %d KiB, more than there are: %w", needed*block/1024, unix.ENOSPC)
	}
	return err
}

// complete reports whether pruning of generation n has not begun in the share: n is announced, which
// ends first, or it is the newest. It goes by a list of the share: a name that the guest has looked
// up may be cached for seconds after it is gone.
func (m *Mirror) complete(n uint64) bool {
	there := names(m.share, ".")
	if slices.Contains(there, layout.Announcement(n)) {
		return true
	}
	newer := func(name string) bool { g, ok := layout.ParseGeneration(name); return ok && g > n }
	return slices.Contains(there, layout.Generation(n)) && !slices.ContainsFunc(there, newer)
}

// copyFiles copies all files. It returns all directories, parents first.
func copyFiles(from, to *os.Root) (dirs []string, err error) {
	err = fs.WalkDir(from.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			dirs = append(dirs, name)
			if name == "." {
				return nil
			}
			return to.Mkdir(name, 0o700)
		}
		return copyFile(from, to, name)
	})
	return dirs, err
}

func copyFile(from, to *os.Root, name string) error {
	in, err := from.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if n, err := io.Copy(out, in); err != nil {
		return err
	} else if n != info.Size() {
		return fmt.Errorf("%s has %d bytes, and %d were read", name, info.Size(), n)
	}
	if err := out.Chown(owner(info)); err != nil { // before the mode: it may clear bits of that
		return err
	}
	if err := out.Chmod(info.Mode()); err != nil {
		return err
	}
	return to.Chtimes(name, info.ModTime(), info.ModTime())
}

// likeDir gives a directory the mode, owner and time of the one in the share.
func likeDir(from, to *os.Root, name string) error {
	info, err := from.Stat(name)
	if err != nil {
		return err
	}
	uid, gid := owner(info)
	if err := to.Lchown(name, uid, gid); err != nil {
		return err
	}
	if err := to.Chmod(name, info.Mode().Perm()); err != nil {
		return err
	}
	return to.Chtimes(name, info.ModTime(), info.ModTime())
}

func owner(info fs.FileInfo) (uid, gid int) {
	st := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}

// names lists a directory. If that can't be read the list is nil.
func names(in *os.Root, dir string) (list []string) {
	d, err := in.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	list, err = d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	return list
}

// fixLinks makes a link for each name, and removes all others. Without names it leaves them as they
// are. The caller holds mu.
func (m *Mirror) fixLinks(published []string) error {
	there := names(m.copy, ".")
	for _, name := range there {
		if published != nil && !strings.HasPrefix(name, layout.Reserved) && !slices.Contains(published, name) {
			if err := m.copy.Remove(name); err != nil {
				return err
			}
		}
	}
	for _, name := range published {
		if slices.Contains(there, name) {
			continue
		}
		if err := m.copy.Symlink(layout.Link(name), name); err != nil {
			return err
		}
	}
	return nil
}
