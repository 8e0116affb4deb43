package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// deed is something that programs do with files.
type deed struct {
	name string
	do   func(dir string) error // in an empty directory
}

var deeds = []deed{
	{"write and read", writeAndRead},
	{"append", appends},
	{"rename over a file", renameOver},
	{"rename into another directory", renameAcross},
	{"exchange two files", exchange},
	{"rename without replacing", renameNoReplace},
	{"rename a directory that is not empty", renameTree},
	{"remove a file that is open", removeOpen},
	{"remove a directory", removeDir},
	{"a symbolic link", symbolicLink},
	{"a hard link", hardLink},
	{"a hard link into another directory", hardLinkAcross},
	{"a new read-only file, as git's objects", object},
	{"a file without a name", nameless},
	{"fsync", syncs},
	{"flock", flocks},
	{"a record lock", recordLocks},
	{"map shared and write", mapShared},
	{"truncate and grow", truncates},
	{"a sparse file", sparse},
	{"allocate and punch a hole", holes},
	{"copy by the kernel", copyRange},
	{"chmod", modes},
	{"chown", owners},
	{"set times", times},
	{"an attribute of the user's", attribute},
	{"watch by inotify", watches},
	{"a name of 255 bytes", longName},
	{"a fifo", fifo},
	{"a local socket", localSocket},
	{"a tree of 300 files", manyFiles},
	{"run a program", runsProgram},
	{"a file with the set-user-id bit", setUser},
	{"a directory with the set-group-id bit", setGroup},
	{"a device node", deviceNode},
	{"a file with capabilities", fileCapability},
}

// files does everything in a directory of its own, one line each: "NAME: ok" or why not.
func files(dir string) {
	for i, d := range deeds {
		own := filepath.Join(dir, fmt.Sprint(i))
		err := os.Mkdir(own, 0o755)
		if err == nil {
			err = d.do(own)
		}
		if err = errors.Join(err, os.RemoveAll(own)); err != nil {
			fmt.Printf("%s: %s\n", d.name, strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		fmt.Printf("%s: ok\n", d.name)
	}
}

func put(name, text string) error { return os.WriteFile(name, []byte(text), 0o644) }

func has(name, want string) error {
	got, err := os.ReadFile(name)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%.40q is in it, not %.40q", got, want)
	}
	return err
}

func absent(name string) error {
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is there: %v", filepath.Base(name), err)
	}
	return nil
}

// first returns the first error of steps that depend on each other.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func writeAndRead(dir string) error {
	text := strings.Repeat("0123456789abcdef", 40_000)
	return errors.Join(put(dir+"/f", text), has(dir+"/f", text), put(dir+"/f", "short"), has(dir+"/f", "short"))
}

func appends(dir string) error {
	for range 3 {
		f, err := os.OpenFile(dir+"/f", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if _, err = f.WriteString("line\n"); errors.Join(err, f.Close()) != nil {
			return err
		}
	}
	return has(dir+"/f", "line\nline\nline\n")
}

func renameOver(dir string) error {
	return errors.Join(put(dir+"/old", "old"), put(dir+"/new", "new"), os.Rename(dir+"/new", dir+"/old"), has(dir+"/old", "new"), absent(dir+"/new"))
}

func renameAcross(dir string) error {
	return errors.Join(os.MkdirAll(dir+"/a/b", 0o755), put(dir+"/f", "x"), os.Rename(dir+"/f", dir+"/a/b/f"), has(dir+"/a/b/f", "x"), absent(dir+"/f"))
}

func exchange(dir string) error {
	return errors.Join(put(dir+"/a", "a"), put(dir+"/b", "b"),
		unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_EXCHANGE), has(dir+"/a", "b"), has(dir+"/b", "a"))
}

func renameNoReplace(dir string) error {
	err := errors.Join(put(dir+"/a", "a"), put(dir+"/b", "b"))
	if refused := unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_NOREPLACE); !errors.Is(refused, unix.EEXIST) {
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

// object makes a file as git does: written through a descriptor although nobody may write to
// it, then linked to its name.
func object(dir string) error {
	f, err := os.OpenFile(dir+"/tmp_obj", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o444)
	if err != nil {
		return err
	}
	_, err = f.WriteString("blob")
	if _, again := os.OpenFile(dir+"/tmp_obj", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o444); !errors.Is(again, os.ErrExist) {
		err = errors.Join(err, fmt.Errorf("made twice: %v", again))
	}
	return errors.Join(err, f.Sync(), f.Close(), os.Link(dir+"/tmp_obj", dir+"/object"), os.Remove(dir+"/tmp_obj"), has(dir+"/object", "blob"))
}

func nameless(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		return err
	}
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, dir+"/f", unix.AT_SYMLINK_FOLLOW)
	return errors.Join(err, has(dir+"/f", "x"))
}

func syncs(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("x")
	d, failed := os.Open(dir)
	if failed != nil {
		return failed
	}
	defer d.Close()
	return errors.Join(err, f.Sync(), unix.Fdatasync(int(f.Fd())), d.Sync(), unix.Syncfs(int(d.Fd())))
}

// twice opens a file two times.
func twice(dir string) (a, b *os.File, err error) {
	if a, err = os.Create(dir + "/f"); err != nil {
		return nil, nil, err
	}
	b, err = os.OpenFile(dir+"/f", os.O_RDWR, 0)
	return a, b, err
}

func flocks(dir string) error {
	a, b, err := twice(dir)
	if err != nil {
		return err
	}
	defer a.Close()
	defer b.Close()
	return first(
		func() error { return unix.Flock(int(a.Fd()), unix.LOCK_EX) },
		func() error {
			if err := unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
				return fmt.Errorf("locked twice: %v", err)
			}
			return nil
		},
		func() error { return unix.Flock(int(a.Fd()), unix.LOCK_UN) },
		func() error { return unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

func recordLocks(dir string) error {
	a, b, err := twice(dir)
	if err != nil {
		return err
	}
	defer a.Close()
	defer b.Close()
	lock := func(f *os.File, kind int16) error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Len: 10})
	}
	return first(
		func() error { return lock(a, unix.F_WRLCK) },
		func() error {
			if err := lock(b, unix.F_WRLCK); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
				return fmt.Errorf("locked twice: %v", err)
			}
			return nil
		},
		func() error { return lock(a, unix.F_UNLCK) },
		func() error { return lock(b, unix.F_WRLCK) })
}

func mapShared(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m[4096:], "mapped")
	got := make([]byte, 6)
	err = errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
	if _, failed := f.ReadAt(got, 4096); failed != nil || string(got) != "mapped" {
		err = errors.Join(err, fmt.Errorf("%q, %v", got, failed))
	}
	return err
}

func truncates(dir string) error {
	return errors.Join(put(dir+"/f", "0123456789"), os.Truncate(dir+"/f", 4), has(dir+"/f", "0123"),
		os.Truncate(dir+"/f", 6), has(dir+"/f", "0123\x00\x00"))
}

func sparse(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("end"), 100<<20); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Size != 100<<20+3 || st.Blocks > 2048 {
		return fmt.Errorf("%d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	return nil
}

func holes(dir string) error {
	f, err := os.Create(dir + "/f")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(bytes.Repeat([]byte("x"), 64<<10))
	return errors.Join(err, unix.Fallocate(int(f.Fd()), 0, 0, 1<<20),
		unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096))
}

func copyRange(dir string) error {
	if err := put(dir+"/a", "copied"); err != nil {
		return err
	}
	from, err := os.Open(dir + "/a")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(dir + "/b")
	if err != nil {
		return err
	}
	defer to.Close()
	n, err := unix.CopyFileRange(int(from.Fd()), nil, int(to.Fd()), nil, 6, 0)
	if err == nil && n != 6 {
		err = fmt.Errorf("%d bytes", n)
	}
	return errors.Join(err, has(dir+"/b", "copied"))
}

func modes(dir string) error {
	err := put(dir+"/f", "x")
	for _, want := range []os.FileMode{0o600, 0o444, 0o755, 0o000} {
		err = errors.Join(err, os.Chmod(dir+"/f", want))
		if info, failed := os.Stat(dir + "/f"); failed != nil || info.Mode() != want {
			return errors.Join(err, failed, fmt.Errorf("not %v", want))
		}
	}
	if os.Getuid() == 0 { // root is not kept out by a mode
		err = errors.Join(err, has(dir+"/f", "x"), put(dir+"/f", "y"))
	}
	return err
}

func owners(dir string) error {
	err := errors.Join(put(dir+"/f", "x"), os.Chown(dir+"/f", 1234, 2345))
	var st unix.Stat_t
	if failed := unix.Stat(dir+"/f", &st); err == nil && (failed != nil || st.Uid != 1234 || st.Gid != 2345) {
		err = fmt.Errorf("it belongs to %d:%d, %v", st.Uid, st.Gid, failed)
	}
	return err
}

func times(dir string) error {
	when := time.Unix(1_000_000_000, 123_000_000)
	err := errors.Join(put(dir+"/f", "x"), os.Chtimes(dir+"/f", when, when))
	if info, failed := os.Stat(dir + "/f"); failed != nil || !info.ModTime().Equal(when) {
		err = errors.Join(err, failed, errors.New("it has another time"))
	}
	return err
}

func attribute(dir string) error {
	err := errors.Join(put(dir+"/f", "x"), unix.Setxattr(dir+"/f", "user.test", []byte("value"), 0))
	got := make([]byte, 10)
	if n, failed := unix.Getxattr(dir+"/f", "user.test", got); failed != nil || string(got[:max(n, 0)]) != "value" {
		return errors.Join(err, fmt.Errorf("read back: %q, %v", got[:max(n, 0)], failed))
	}
	return errors.Join(err, unix.Removexattr(dir+"/f", "user.test"))
}

func watches(dir string) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO); err != nil {
		return err
	}
	if err := errors.Join(put(dir+"/f", "x"), os.Rename(dir+"/f", dir+"/g")); err != nil {
		return err
	}
	events := make([]byte, 4096)
	n, err := unix.Read(fd, events)
	if err != nil || n < 3*unix.SizeofInotifyEvent {
		return fmt.Errorf("%d bytes of events, %v", n, err)
	}
	return nil
}

func longName(dir string) error {
	name := filepath.Join(dir, strings.Repeat("n", 255))
	return errors.Join(put(name, "x"), has(name, "x"))
}

func fifo(dir string) error {
	if err := unix.Mkfifo(dir+"/f", 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(dir+"/f", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("x")
	return err
}

func localSocket(dir string) error {
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("unix", dir+"/s")
	if err != nil {
		return err
	}
	return c.Close()
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

func runsProgram(dir string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/program", self, 0o755); err != nil {
		return err
	}
	p, err := os.StartProcess(dir+"/program", []string{"program", "ls"}, &os.ProcAttr{})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return err
}

func setUser(dir string) error {
	return errors.Join(put(dir+"/f", "x"), unix.Chmod(dir+"/f", unix.S_ISUID|0o755))
}

func setGroup(dir string) error {
	if err := errors.Join(os.Mkdir(dir+"/d", 0o755), unix.Chmod(dir+"/d", unix.S_ISGID|0o755)); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/d", &st); err != nil || st.Mode&unix.S_ISGID == 0 {
		return fmt.Errorf("its mode is %o, %v", st.Mode, err)
	}
	return nil
}

func deviceNode(dir string) error { return unix.Mknod(dir+"/d", unix.S_IFBLK|0o600, 8<<8) }

// fileCapability sets cap_net_raw.
func fileCapability(dir string) error {
	value := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	return errors.Join(put(dir+"/f", "x"), unix.Setxattr(dir+"/f", "security.capability", value, 0))
}
