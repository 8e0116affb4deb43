package rootlist

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// oddTree makes a root with unusual entries, as far as this user can make them.
func oddTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	in := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(in("etc/deep"), 0o755), os.Mkdir(in("closed"), 0o755), os.Mkdir(in("hidden"), 0o755),
		os.WriteFile(in("etc/file"), []byte("content"), 0o640), os.Link(in("etc/file"), in("etc/deep/hard")),
		os.WriteFile(in("closed/in"), nil, 0o600), os.WriteFile(in("hidden/key"), []byte("secret"), 0o600),
		os.WriteFile(in("etc/n\xffot text\n"), nil, 0o644), os.WriteFile(in("etc/"+strings.Repeat("n", 255)), nil, 0o644),
		os.WriteFile(in("sparse"), nil, 0o644), os.Truncate(in("sparse"), 1<<40),
		os.Symlink("/etc/passwd", in("absolute")), os.Symlink("loop", in("loop")), os.Symlink("..", in("up")),
		unix.Mkfifo(in("fifo"), 0o600), unix.Chmod(in("etc/file"), 0o4755), unix.Chmod(in("closed"), 0),
	)
	t.Cleanup(func() { os.Chmod(in("closed"), 0o700) })
	socket, err := net.Listen("unix", in("socket"))
	must(t, err)
	t.Cleanup(func() { socket.Close() })
	return root
}

func walked(t *testing.T, root string, masks ...string) (map[string]Entry, Unread) {
	t.Helper()
	all := map[string]Entry{}
	unread, err := Walk(root, masks, func(e Entry) error {
		if _, twice := all[e.Name]; twice {
			t.Errorf("%q comes twice", e.Name)
		}
		if _, known := all[filepath.Dir(e.Name)]; e.Name != "" && filepath.Dir(e.Name) != "/" && !known {
			t.Errorf("%q comes before its directory", e.Name)
		}
		all[e.Name] = e
		return nil
	})
	must(t, err)
	return all, unread
}

func TestWalk(t *testing.T) {
	root := oddTree(t)
	all, unread := walked(t, root, "hidden", "etc/nothing")
	for name, want := range map[string]struct {
		mode   uint32
		size   int64
		target string
	}{
		"/etc/file":                        {unix.S_IFREG | 0o4755, 7, ""},
		"/etc/deep/hard":                   {unix.S_IFREG | 0o4755, 7, ""},
		"/etc/n\xffot text\n":              {unix.S_IFREG | 0o644, 0, ""},
		"/etc/" + strings.Repeat("n", 255): {unix.S_IFREG | 0o644, 0, ""},
		"/sparse":                          {unix.S_IFREG | 0o644, 1 << 40, ""},
		"/absolute":                        {unix.S_IFLNK | 0o777, 11, "/etc/passwd"},
		"/loop":                            {unix.S_IFLNK | 0o777, 4, "loop"},
		"/up":                              {unix.S_IFLNK | 0o777, 2, ".."},
		"/fifo":                            {unix.S_IFIFO | 0o600, 0, ""},
	} {
		e, ok := all[name]
		if !ok || e.Mode != want.mode || e.Size != want.size || e.Target != want.target {
			t.Errorf("%q: %+v, not %+v", name, e, want)
		}
	}
	if e := all["/socket"]; e.Mode&unix.S_IFMT != unix.S_IFSOCK {
		t.Errorf("the socket: %+v", e)
	}
	if one, other := all["/etc/file"].File, all["/etc/deep/hard"].File; one != other || one == all["/sparse"].File {
		t.Errorf("two names of a file: %v, %v", one, other)
	}
	if _, ok := all["/hidden"]; !ok {
		t.Error("what is masked seems empty, and is there")
	}
	if _, ok := all["/hidden/key"]; ok {
		t.Error("the walk looks below a mask")
	}
	closed := all["/closed"]
	if closed.Mode != unix.S_IFDIR {
		t.Errorf("a closed directory: %+v", closed)
	}
	if _, seen := all["/closed/in"]; seen != (os.Getuid() == 0) || seen == (unread == Unread{1, "/closed"}) {
		t.Errorf("below a closed directory: %v, %+v", seen, unread)
	}
}

// TestWalkStaysInside replaces a directory by a link while the tree is walked.
func TestWalkStaysInside(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	for i := range 5 {
		must(t, os.MkdirAll(filepath.Join(root, fmt.Sprint("d", i), "e"), 0o755))
	}
	swapped := false
	unread, err := Walk(root, nil, func(e Entry) error {
		if strings.HasSuffix(e.Name, "secret") {
			t.Errorf("%q is outside", e.Name)
		}
		if !swapped && e.Name != "" {
			swapped = true
			for i := range 5 {
				dir := filepath.Join(root, fmt.Sprint("d", i))
				must(t, os.RemoveAll(dir), os.Symlink(outside, dir))
			}
		}
		return nil
	})
	if err != nil || !swapped || unread.Count == 0 {
		t.Errorf("%+v, %v", unread, err)
	}
}

// TestAttributes checks that attributes are read of files and directories only, and
// only where they may be read.
func TestAttributes(t *testing.T) {
	root := oddTree(t)
	file := filepath.Join(root, "etc/file")
	if err := unix.Setxattr(file, "user.note", []byte("kept\x00all"), 0); err != nil {
		t.Skip("no attributes on this file system: ", err)
	}
	must(t, unix.Setxattr(root, "user.top", []byte("t"), 0), unix.Setxattr(filepath.Join(root, "etc"), "user.many", bytes.Repeat([]byte("x"), 2000), 0))
	all, _ := walked(t, root)
	if got := all["/etc/file"].Attributes; !reflect.DeepEqual(got, []Attribute{{"user.note", []byte("kept\x00all")}}) {
		t.Errorf("%q", got)
	}
	if got := all["/etc"].Attributes; len(got) != 1 || len(got[0].Value) != 2000 {
		t.Errorf("%q", got)
	}
	if got := all[""].Attributes; len(got) != 1 || got[0].Name != "user.top" {
		t.Errorf("the root's: %q", got)
	}
	// libkrun's server opens every file that it is asked about.
	listAttributes = func(name string, into []byte) (int, error) {
		var st unix.Stat_t
		must(t, unix.Lstat(name, &st))
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFDIR:
			return 0, unix.EACCES
		}
		t.Errorf("%s, of mode %o, is asked for attributes", name, st.Mode)
		return 0, unix.ENXIO
	}
	t.Cleanup(func() { listAttributes = unix.Llistxattr })
	refused, _ := walked(t, root)
	if len(refused) != len(all) || refused["/etc/file"].Attributes != nil {
		t.Errorf("%d entries where attributes are refused, %d where not", len(refused), len(all))
	}
}

func TestList(t *testing.T) {
	root, file := oddTree(t), filepath.Join(t.TempDir(), "list")
	want, missed := walked(t, root)
	told := uint64(0)
	count, unread, err := Create(file, root, nil, func(n uint64) error { told = n; return nil })
	if err != nil || count != uint64(len(want)) || told != count || unread != missed {
		t.Fatalf("%d of %d entries, %d told, %+v, %v", count, len(want), told, unread, err)
	}
	data, err := os.ReadFile(file)
	must(t, err)
	got, of := map[string]Entry{}, uint64(0)
	must(t, Read(bytes.NewReader(data), func(n uint64) { of = n }, func(e Entry) error { got[e.Name] = e; return nil }))
	for name, e := range want {
		read := got[name]
		e.Access, read.Access = unix.Timespec{}, unix.Timespec{} // the walk reads directories and links
		if !reflect.DeepEqual(read, e) {
			t.Errorf("%q: %+v, not %+v", name, read, e)
		}
	}
	if of != count || len(got) != len(want) {
		t.Errorf("%d and %d read of %d", of, len(got), count)
	}

	for cut := range len(data) { // a list that ends early is no list
		if Read(bytes.NewReader(data[:cut]), func(uint64) {}, func(Entry) error { return nil }) == nil {
			t.Fatalf("%d of %d bytes are taken for a list", cut, len(data))
		}
	}
	if _, _, err := Create(file, root, nil, func(uint64) error { return nil }); err == nil {
		t.Error("a file that is there is overwritten")
	}
	enough := errors.New("enough")
	ended := file + ".ended"
	if _, _, err := Create(ended, root, nil, func(uint64) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(ended); err == nil {
		t.Error("a list that was given up is left")
	}
}

func FuzzRead(f *testing.F) {
	entry := Entry{Name: "/a", Mode: unix.S_IFREG, Attributes: []Attribute{{"user.x", []byte("y")}}}
	f.Add(append([]byte(header+"\x00\x00\x00\x00\x00\x00\x00\x01"), entry.appendTo(nil)...))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_ = Read(bytes.NewReader(data), func(uint64) {}, func(Entry) error { return nil })
	})
}
