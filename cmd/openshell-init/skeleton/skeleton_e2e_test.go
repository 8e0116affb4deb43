//go:build e2e

package skeleton

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/rootlist"
)

// TestSkeleton puts an overlay over a skeleton and makes every change that an overlay over
// the directory itself allows. The skeleton is made from a list or, if the monitor made
// none, by a walk.
func TestSkeleton(t *testing.T) {
	t.Run("from a list", func(t *testing.T) { trySkeleton(t, true) })
	t.Run("by a walk", func(t *testing.T) { trySkeleton(t, false) })
}

func trySkeleton(t *testing.T, listed bool) {
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
		unix.Mknod(lower("etc/null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
		os.WriteFile(lower("etc/n\xffot text\n"), []byte("odd"), 0o644),
		os.Mkdir(lower("etc/closed"), 0o000),
		os.WriteFile(lower("etc/closed/in"), []byte("inside"), 0o000),
		os.Chtimes(lower("etc/file"), old, old),
		os.Chtimes(lower("etc"), old, old),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if listed {
		if _, _, err := rootlist.Create(dir("list"), dir("lower"), nil, func(uint64) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	made := newSkeleton(dir("skeleton"))
	if err := made.make(dir("lower"), dir("list")); err != nil {
		t.Fatal(err)
	}
	if known := made.of.Load() != 0; known != listed || listed && made.of.Load() != made.made.Load() {
		t.Errorf("%d of %d are made", made.made.Load(), made.of.Load())
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
	sees("etc/n\xffot text\n", "odd")
	sees("etc/closed/in", "inside")
	var st unix.Stat_t
	if err := unix.Stat(root("etc/file"), &st); err != nil || st.Uid != 12 || st.Gid != 34 ||
		st.Mode&0o7777 != 0o4755 || st.Size != 13 || st.Nlink != 2 || st.Mtim.Sec != old.Unix() {
		t.Errorf("%+v, %v", st, err)
	}
	if err := unix.Stat(root("etc"), &st); err != nil || st.Mtim.Sec != old.Unix() {
		t.Errorf("a directory's time: %v, %v", st.Mtim, err)
	}
	if err := unix.Stat(root("etc/null"), &st); err != nil || st.Mode != unix.S_IFCHR|0o600 || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("a device: %+v, %v", st, err)
	}
	if err := unix.Stat(root("etc/closed"), &st); err != nil || st.Mode != unix.S_IFDIR {
		t.Errorf("a closed directory: %+v, %v", st, err)
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
