package share

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth is how many components a published name may have.
const maxDepth = 8

// in calls f with the directory below d that the name lies in, and with the name's last
// component. The directory is closed when f returns.
func (d dir) in(name string, f func(in dir, base string) error) error {
	first, rest, deeper := strings.Cut(name, "/")
	if !deeper {
		return f(d, name)
	}
	sub, err := d.openDir(first)
	if err != nil {
		return err
	}
	defer sub.close()
	return sub.in(rest, f)
}

// within calls f with a directory below d. It is closed when f returns.
func (d dir) within(name string, f func(sub dir) error) error {
	return d.in(name+"/.", func(sub dir, _ string) error { return f(sub) })
}

// readIn is read for a name with directories.
func (d dir) readIn(name string) (data []byte, st unix.Stat_t, err error) {
	err = d.in(name, func(in dir, base string) (e error) {
		data, st, e = in.read(base)
		return e
	})
	return data, st, err
}

// tree lists all below d by its path: directories, parents first, and all else. What lies
// deeper than a published name can is among the files, where reading it fails.
func (d dir) tree() (files, dirs []string, err error) { return d.treeBelow("", 1) }

func (d dir) treeBelow(prefix string, depth int) (files, dirs []string, err error) {
	names, err := d.list()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if depth == maxDepth || !d.isDir(name) {
			files = append(files, prefix+name)
			continue
		}
		dirs = append(dirs, prefix+name)
		err := d.within(name, func(sub dir) error {
			f, s, err := sub.treeBelow(prefix+name+"/", depth+1)
			files, dirs = append(files, f...), append(dirs, s...)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return files, dirs, nil
}

// dirsOf returns the directories of the files' names, parents first.
func dirsOf(files []File) (dirs []string) {
	for _, f := range files {
		for at, c := range f.Name {
			if c == '/' {
				dirs = append(dirs, f.Name[:at])
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Dirs returns how many directories below a generation the files' names need.
func Dirs(files []File) int { return len(dirsOf(files)) }

// makeDirs makes directories below a generation, as long as nobody else can enter it.
func (d dir) makeDirs(dirs []string) error {
	for _, name := range dirs {
		err := d.in(name, func(in dir, base string) error {
			made, err := in.make(base)
			made.close()
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sameDirs reports whether exactly these directories are there, with our owner and mode.
func (t *txn) sameDirs(gen dir, there, wanted []string) bool {
	slices.Sort(there)
	if !slices.Equal(there, wanted) {
		return false
	}
	for _, name := range wanted {
		err := gen.within(name, func(sub dir) error {
			if st, err := sub.stat(); err != nil || !t.dirOwner().matches(st) {
				return errors.Join(err, unix.EPERM)
			}
			return nil
		})
		if err != nil {
			return false
		}
	}
	return true
}

// tops returns the first components of names, once each: these are the links of a share.
func tops(files []File) (list []string) {
	for _, f := range files {
		top, _, _ := strings.Cut(f.Name, "/")
		if !slices.Contains(list, top) {
			list = append(list, top)
		}
	}
	return list
}
