package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func renameOver(dir string) error {
	return errors.Join(put(dir+"/old", "old"), put(dir+"/new", "new"), os.Rename(dir+"/new", dir+"/old"),
		has(dir+"/old", "new"), absent(dir+"/new"))
}

func renameAcross(dir string) error {
	return errors.Join(os.MkdirAll(dir+"/a/b", 0o755), put(dir+"/f", "x"), os.Rename(dir+"/f", dir+"/a/b/f"),
		has(dir+"/a/b/f", "x"), absent(dir+"/f"))
}

func exchange(dir string) error {
	return errors.Join(put(dir+"/a", "a"), put(dir+"/b", "b"),
		unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_EXCHANGE), has(dir+"/a", "b"), has(dir+"/b", "a"))
}

func renameNoReplace(dir string) error {
	err := errors.Join(put(dir+"/a", "a"), put(dir+"/b", "b"))
	refused := unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_NOREPLACE)
	if !errors.Is(refused, unix.EEXIST) {
		err = errors.Join(err, fmt.Errorf("over a file: %v", refused))
	}
	return errors.Join(err, unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/c", unix.RENAME_NOREPLACE), has(dir+"/c", "a"))
}

func renameTree(dir string) error {
	return errors.Join(os.MkdirAll(dir+"/a/b/c", 0o755), put(dir+"/a/b/c/f", "x"), os.Rename(dir+"/a", dir+"/z"), has(dir+"/z/b/c/f", "x"))
}

func removeOpen(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString("still"); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(dir+"/f"), absent(dir+"/f")); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "still" {
		return fmt.Errorf("%q, %v", got, err)
	}
	_, err = f.WriteString("more")
	return errors.Join(err, f.Truncate(3), f.Chmod(0o600))
}

func removeDir(dir string) error {
	err := errors.Join(os.Mkdir(dir+"/d", 0o755), put(dir+"/d/f", ""))
	if refused := unix.Rmdir(dir + "/d"); !errors.Is(refused, unix.ENOTEMPTY) {
		err = errors.Join(err, fmt.Errorf("one that is not empty: %v", refused))
	}
	return errors.Join(err, os.Remove(dir+"/d/f"), unix.Rmdir(dir+"/d"), absent(dir+"/d"))
}

func symbolicLink(dir string) error {
	err := errors.Join(os.Mkdir(dir+"/d", 0o755), put(dir+"/d/f", "x"), os.Symlink("d/f", dir+"/l"), has(dir+"/l", "x"))
	if to, failed := os.Readlink(dir + "/l"); to != "d/f" || failed != nil {
		err = errors.Join(err, fmt.Errorf("it leads to %q, %v", to, failed))
	}
	return err
}

func links(name string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	return uint64(st.Nlink), err
}

func hardLink(dir string) error {
	err := errors.Join(put(dir+"/a", "x"), os.Link(dir+"/a", dir+"/b"), has(dir+"/b", "x"))
	if n, failed := links(dir + "/b"); n != 2 || failed != nil {
		err = errors.Join(err, fmt.Errorf("%d names, %v", n, failed))
	}
	return errors.Join(err, os.Remove(dir+"/a"), has(dir+"/b", "x"))
}

func hardLinkAcross(dir string) error {
	return errors.Join(os.Mkdir(dir+"/d", 0o755), put(dir+"/a", "x"), os.Link(dir+"/a", dir+"/d/b"), has(dir+"/d/b", "x"))
}

func longName(dir string) error {
	name := filepath.Join(dir, strings.Repeat("n", 255))
	return errors.Join(put(name, "x"), has(name, "x"))
}

// manyFiles makes and removes a tree such as a package manager does.
func manyFiles(dir string) error {
	const dirs, each = 15, 20
	for i := range dirs {
		name := fmt.Sprintf("%s/.staging/p%d/lib", dir, i)
		if err := os.MkdirAll(name, 0o755); err != nil {
			return err
		}
		for j := range each {
			if err := put(fmt.Sprintf("%s/%d.js", name, j), fmt.Sprint(i, j)); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(dir+"/node_modules", 0o755); err != nil {
		return err
	}
	for i := range dirs {
		if err := os.Rename(fmt.Sprintf("%s/.staging/p%d", dir, i), fmt.Sprintf("%s/node_modules/p%d", dir, i)); err != nil {
			return err
		}
	}
	n := 0
	err := filepath.WalkDir(dir+"/node_modules", func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err == nil && n != dirs*each {
		err = fmt.Errorf("%d files are there", n)
	}
	return err
}
