package plainfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// evil makes a directory with everything that may be in a file's place.
func evil(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(in("file"), []byte("content"), 0o600), os.WriteFile(in("empty"), nil, 0o600),
		os.Symlink("file", in("link")), os.Symlink("fifo", in("to-fifo")), os.Symlink("loop", in("loop")),
		unix.Mkfifo(in("fifo"), 0o600), os.Mkdir(in("directory"), 0o700), os.Symlink("/dev/zero", in("to-device")),
		os.WriteFile(in("huge"), nil, 0o600), os.Truncate(in("huge"), 1<<40),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(listener) })
	if err := unix.Bind(listener, &unix.SockaddrUnix{Name: in("socket")}); err != nil {
		t.Fatal(err)
	}
	return dir
}

var cases = map[string]struct {
	content string
	err     error
}{
	"file": {"content", nil}, "empty": {"", nil}, "link": {"content", nil},
	"fifo": {"", ErrIrregular}, "to-fifo": {"", ErrIrregular}, "directory": {"", ErrIrregular}, "socket": {"", ErrIrregular},
	"huge": {"", ErrTooLarge}, "missing": {"", fs.ErrNotExist}, "loop": {"", unix.ELOOP},
}

func TestRead(t *testing.T) {
	dir := evil(t)
	for name, want := range cases {
		data, err := Read(filepath.Join(dir, name), 7)
		if string(data) != want.content || !errors.Is(err, want.err) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if data, err := Read(filepath.Join(dir, "to-device"), 7); !errors.Is(err, ErrIrregular) {
		t.Errorf("device: %q, %v", data, err)
	}
	if data, err := Read(filepath.Join(dir, "file"), 6); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte too many: %q, %v", data, err)
	}
}

func TestReadIn(t *testing.T) {
	dir := evil(t)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range cases {
		data, err := ReadIn(root, name, 7)
		if name == "loop" && err != nil { // os.Root counts links itself
			continue
		}
		if string(data) != want.content || !errors.Is(err, want.err) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadIn(root, "out", 1<<20); err == nil {
		t.Errorf("a link led out: %d bytes", len(data))
	}
}

// TestReadGrowing checks the bound for a file whose size is not known before.
func TestReadGrowing(t *testing.T) {
	if data, err := Read("/proc/self/status", 7); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%q, %v", data, err)
	}
}

func TestOpenWrites(t *testing.T) {
	dir := evil(t)
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	for _, name := range []string{"fifo", "to-device", "directory", "socket"} {
		if f, err := Open(filepath.Join(dir, name), flags, 0o600); !errors.Is(err, ErrIrregular) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	f, err := Open(filepath.Join(dir, "new"), flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("x"); err != nil {
		t.Error(err)
	}
	if f, err := Open(filepath.Join(dir, "link"), os.O_RDONLY|unix.O_NOFOLLOW, 0); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link: %v, %v", f, err)
	}
}
