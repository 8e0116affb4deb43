//go:build e2e

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSkeleton puts an overlay over a skeleton and changes everything that an
// overlay over the directory itself could have had changed.
func TestSkeleton(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	base := t.TempDir()
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, ""); err != nil { // any file system with these attributes
		t.Skip(err)
	}
	t.Cleanup(func() { unix.Unmount(base, unix.MNT_DETACH) })
	dir := func(name string) string { return filepath.Join(base, name) }
	for _, name := range []string{"lower/etc/deep", "skeleton", "upper", "work", "root"} {
		if err := os.MkdirAll(dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", dir("skeleton"), "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	old := time.Date(2020, 1, 2, 3, 4, 5, 6000, time.UTC)
	lower := func(name string) string { return dir("lower/" + name) }
	for _, err := range []error{
		os.WriteFile(lower("etc/file"), []byte("from the host"), 0o640),
		os.WriteFile(lower("etc/empty"), nil, 0o600),
		os.WriteFile(lower("etc/deep/with space"), []byte("deep"), 0o444),
		os.Chown(lower("etc/file"), 12, 34),
		unix.Chmod(lower("etc/file"), 0o4755),
		unix.Setxattr(lower("etc/file"), "user.note", []byte("kept"), 0),
		os.Link(lower("etc/file"), lower("etc/deep/hard")),
		os.Symlink("file", lower("etc/soft")),
		unix.Mkfifo(lower("etc/fifo"), 0o600),
		os.Chtimes(lower("etc/file"), old, old),
		os.Chtimes(lower("etc"), old, old),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := makeSkeleton(dir("lower"), dir("skeleton")); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("lowerdir=%s::%s,metacopy=on,redirect_dir=on,upperdir=%s,workdir=%s",
		dir("skeleton"), dir("lower"), dir("upper"), dir("work"))
	if err := unix.Mount("overlay", dir("root"), "overlay", 0, options); err != nil {
		t.Fatal(err)
	}

	root := func(name string) string { return dir("root/" + name) }
	sees := func(name, want string) {
		t.Helper()
		if data, err := os.ReadFile(root(name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	sees("etc/file", "from the host")
	sees("etc/empty", "")
	sees("etc/deep/with space", "deep")
	sees("etc/deep/hard", "from the host")
	sees("etc/soft", "from the host")
	var st unix.Stat_t
	if err := unix.Stat(root("etc/file"), &st); err != nil || st.Uid != 12 || st.Gid != 34 ||
		st.Mode&0o7777 != 0o4755 || st.Size != 13 || st.Nlink != 2 || st.Mtim.Sec != old.Unix() {
		t.Errorf("%+v, %v", st, err)
	}
	if err := unix.Stat(root("etc"), &st); err != nil || st.Mtim.Sec != old.Unix() {
		t.Errorf("a directory's time: %v, %v", st.Mtim, err)
	}
	note := make([]byte, 10)
	if n, err := unix.Getxattr(root("etc/file"), "user.note", note); err != nil || string(note[:n]) != "kept" {
		t.Errorf("attribute: %q, %v", note, err)
	}

	for _, err := range []error{
		os.WriteFile(root("etc/new"), []byte("new"), 0o644),
		appendTo(root("etc/file"), " and the guest"),
		os.Chmod(root("etc/deep/with space"), 0o600),
		os.Rename(root("etc/deep/with space"), root("etc/moved")),
		os.Rename(root("etc/deep"), root("etc/shallow")),
		os.Remove(root("etc/empty")),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	sees("etc/file", "from the host and the guest")
	sees("etc/moved", "deep")
	sees("etc/shallow/hard", "from the host")
	if data, err := os.ReadFile(lower("etc/file")); err != nil || string(data) != "from the host" {
		t.Errorf("the host's file changed: %q, %v", data, err)
	}
}

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// TestSkeletonOfOddFiles: a tree has devices and sockets, and files that the
// host's user may not read. libkrun's server opens what it is asked the attributes
// of, and refuses that for these.
func TestSkeletonOfOddFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("device nodes need root")
	}
	base := t.TempDir()
	lower, made := filepath.Join(base, "lower"), filepath.Join(base, "made")
	socket := int(unix.S_IFSOCK | 0o600)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(lower, "dev"), 0o755), os.Mkdir(made, 0o755),
		unix.Mknod(filepath.Join(lower, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(filepath.Join(lower, "dev/disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 250))),
		unix.Mknod(filepath.Join(lower, "socket"), uint32(socket), 0),
		unix.Mkfifo(filepath.Join(lower, "fifo"), 0o600),
		os.WriteFile(filepath.Join(lower, "shadow"), []byte("secret"), 0),
		os.Chmod(filepath.Join(lower, "shadow"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	listAttributes = func(name string, into []byte) (int, error) {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return 0, err
		}
		switch kind := st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFSOCK:
			return 0, unix.ENXIO
		case kind == unix.S_IFCHR, kind == unix.S_IFBLK, st.Mode&0o777 == 0:
			return 0, unix.EACCES
		}
		return unix.Llistxattr(name, into)
	}
	t.Cleanup(func() { listAttributes = unix.Llistxattr })
	if err := makeSkeleton(lower, made); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dev/null", "dev/disk", "socket", "fifo", "shadow"} {
		var want, got unix.Stat_t
		if err := unix.Lstat(filepath.Join(lower, name), &want); err != nil {
			t.Fatal(err)
		}
		if err := unix.Lstat(filepath.Join(made, name), &got); err != nil || got.Mode != want.Mode || got.Rdev != want.Rdev || got.Size != want.Size {
			t.Errorf("%s: %+v, %v; %+v is wanted", name, got, err, want)
		}
	}
}
