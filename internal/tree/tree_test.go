package tree

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// entry is one of an archive that a test makes by hand.
type entry struct {
	tar.Header
	content string
}

func reg(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func dir(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func symlink(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}

func link(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}, ""}
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostile unpacks what a stranger may send. Nothing outside the directory is made or
// changed, and each error says what was wrong.
func TestHostile(t *testing.T) {
	whole := archive(t, reg("a/file", strings.Repeat("x", 5000)), reg("a/more", "y"))
	for name, c := range map[string]struct {
		archive []byte
		opt     Options
		want    string // "" for success
	}{
		"dots":                     {archive: archive(t, reg("../evil", "x")), want: "leads out"},
		"dots inside":              {archive: archive(t, reg("a/../../evil", "x")), want: "leads out"},
		"dots that stay":           {archive: archive(t, reg("a/../b", "x")), want: "leads out"},
		"absolute":                 {archive: archive(t, reg("/outside/evil", "x"))}, // becomes one inside
		"link, then through it":    {archive: archive(t, symlink("l", "../outside"), reg("l/evil", "x")), want: "cannot overwrite non-directory"},
		"absolute link":            {archive: archive(t, symlink("l", "/tmp"), reg("l/evil", "x")), want: "cannot overwrite non-directory"},
		"link, then a directory":   {archive: archive(t, symlink("l", "../outside"), dir("l")), want: "cannot overwrite non-directory"},
		"link, then a file":        {archive: archive(t, symlink("l", "../outside/kept"), reg("l", "x"))}, // the link is replaced
		"link to the top's parent": {archive: archive(t, symlink("l", ".."), reg("l/outside/kept", "x")), want: "cannot overwrite non-directory"},
		"link of links":            {archive: archive(t, symlink("l", "m"), symlink("m", "../outside"), reg("l/evil", "x")), want: "cannot overwrite non-directory"},
		"hard link to outside":     {archive: archive(t, link("l", "../outside/kept")), want: "leads out"},
		"hard link, absolute":      {archive: archive(t, link("l", "/outside/kept")), want: "no such file"},
		"hard link through a link": {archive: archive(t, symlink("l", "../outside"), link("m", "l/kept")), want: "not a directory"},
		"hard link to a link":      {archive: archive(t, symlink("l", "../outside/kept"), link("m", "l"), reg("m", "x"))}, // m is replaced
		"hard link to a directory": {archive: archive(t, dir("d"), link("m", "d")), want: "link to a directory"},
		"hard link to the user's":  {archive: archive(t, reg("new/a", "x"), link("new/b", "mine")), opt: Options{As: "new"}, want: "not below"},
		"hard link to itself":      {archive: archive(t, reg("a", "x"), link("a", "a"))},
		"beside what was asked":    {archive: archive(t, dir("wanted"), reg("mine", "x")), opt: Options{As: "wanted"}, want: "not below"},
		"like what was asked":      {archive: archive(t, dir("wanted"), reg("wanted2", "x")), opt: Options{As: "wanted"}, want: "not below"},
		"over a directory":         {archive: archive(t, reg("has", "x")), want: "cannot overwrite directory"},
		"a directory over a file":  {archive: archive(t, dir("mine")), want: "cannot overwrite non-directory"},
		"a file below a file":      {archive: archive(t, reg("mine/x", "x")), want: "cannot overwrite non-directory"},
		"the top is no directory":  {archive: archive(t, symlink(".", "x")), want: "stands for a directory"},
		"no name":                  {archive: archive(t, symlink("", "x")), want: "no name"},
		"sparse, huge":             {archive: sparse(t), want: "sparse"},
		"a uid that is none":       {archive: archive(t, entry{tar.Header{Typeflag: tar.TypeReg, Name: "a", Uid: 1<<32 - 1}, ""}), want: "no user"},
		"deep":                     {archive: archive(t, reg(strings.Repeat("d/", 300)+"x", "x")), want: "deeper than"},
		"cut in a file":            {archive: whole[:3000], want: "ends early"},
		"cut in a header":          {archive: whole[:len(whole)-2000], want: "ends early"},
		"cut between entries":      {archive: whole[:512+5120], want: "ends early"},
		"nothing":                  {want: "ends early"},
		"no archive":               {archive: bytes.Repeat([]byte("#!/bin/sh\n"), 200), want: "read the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			in, outside := filepath.Join(top, "in"), filepath.Join(top, "outside")
			for _, d := range []string{in, outside, filepath.Join(in, "has")} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range []string{filepath.Join(outside, "kept"), filepath.Join(in, "mine"), filepath.Join(in, "has/this")} {
				if err := os.WriteFile(f, []byte("kept"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Unpack(bytes.NewReader(c.archive), in, c.opt)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
			for _, f := range []string{filepath.Join(outside, "kept"), filepath.Join(in, "mine"), filepath.Join(in, "has/this")} {
				if text, err := os.ReadFile(f); string(text) != "kept" {
					t.Errorf("%s: %q, %v", f, text, err)
				}
			}
			if found, err := os.ReadDir(outside); len(found) != 1 || err != nil {
				t.Errorf("outside: %v, %v", found, err)
			}
			if found, err := os.ReadDir(top); len(found) != 2 || err != nil {
				t.Errorf("beside the directory: %v, %v", found, err)
			}
		})
	}
}

// sparse is a file of 8 TiB in two blocks.
func sparse(t *testing.T) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	const size = "8796093022208"
	records := ""
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=big", "GNU.sparse.realsize=" + size} {
		n := len(r) + 4
		records += fmt.Sprintf("%d %s\n", n, r)
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 512}); err != nil {
		t.Fatal(err)
	}
	w.Write(append([]byte("1\n0\n512\n"), make([]byte, 504)...))
	w.Close()
	entry := b.Bytes()
	b = bytes.Buffer{}
	w = tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "PaxHeaders/x", Size: int64(len(records))}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, records)
	w.Flush()
	pax := b.Bytes()
	pax[156] = tar.TypeXHeader
	sum := 0
	copy(pax[148:156], "        ")
	for _, c := range pax[:512] {
		sum += int(c)
	}
	copy(pax[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return append(pax, entry...)
}

// endless is an archive of very many entries, as it is read.
type endless struct {
	header []byte
	left   int
	at     []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.at) == 0 {
		switch {
		case e.left > 0:
			e.at = e.header
		case e.left > -2:
			e.at = make([]byte, 512)
		default:
			return 0, io.EOF
		}
		e.left--
	}
	n := copy(p, e.at)
	e.at = e.at[n:]
	return n, nil
}

// TestAMillionEntries checks that memory does not grow with an archive.
func TestAMillionEntries(t *testing.T) {
	for name, h := range map[string]tar.Header{
		"devices":       {Typeflag: tar.TypeChar, Name: "d/device"},
		"the directory": {Typeflag: tar.TypeDir, Name: "./"},
	} {
		t.Run(name, func(t *testing.T) {
			one := archive(t, entry{h, ""})[:512]
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			done, err := Unpack(&endless{header: one, left: 1_000_000}, t.TempDir(), Options{})
			runtime.GC()
			runtime.ReadMemStats(&after)
			if err != nil || h.Typeflag != tar.TypeDir && done.LeftOut != 1_000_000 {
				t.Errorf("%+v, %v", done, err)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
				t.Errorf("%d bytes more are in use", grown)
			}
		})
	}
}

// TestStrangersPrivileges checks what of an archive's modes and owners a stranger's keeps.
func TestStrangersPrivileges(t *testing.T) {
	e := reg("program", "x")
	e.Mode, e.Uid, e.Gid = 0o6755, 4711, 4712
	device := entry{tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8}, ""}
	in := archive(t, e, device)
	at := t.TempDir()
	done, err := Unpack(bytes.NewReader(in), at, Options{})
	if err != nil || done.LeftOut != 1 || !strings.Contains(done.FirstLeftOut, "disk is a device") {
		t.Errorf("%+v, %v", done, err)
	}
	st := stat(t, filepath.Join(at, "program"))
	if st.Mode&0o7777 != 0o755 || st.Uid != uint32(os.Geteuid()) {
		t.Errorf("mode %o, uid %d", st.Mode, st.Uid)
	}
	if os.Geteuid() != 0 {
		return
	}
	if _, err := Unpack(bytes.NewReader(in), at, Options{Owners: true, Privileges: true}); err != nil {
		t.Error(err)
	}
	if st := stat(t, filepath.Join(at, "program")); st.Mode&0o7777 != 0o6755 || st.Uid != 4711 || st.Gid != 4712 {
		t.Errorf("mode %o, owner %d:%d", st.Mode, st.Uid, st.Gid)
	}
}

func stat(t testing.TB, file string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

// TestRoundTrip packs a tree with all kinds of files, unpacks it, and compares the two.
func TestRoundTrip(t *testing.T) {
	from := filepath.Join(t.TempDir(), "tree")
	old := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(filepath.Join(from, "dir/empty"), 0o755))
	check(os.WriteFile(filepath.Join(from, "dir/file"), []byte(strings.Repeat("abc", 100_000)), 0o640))
	check(os.Link(filepath.Join(from, "dir/file"), filepath.Join(from, "hard")))
	check(os.Symlink("/no/such", filepath.Join(from, "dangling")))
	check(os.Symlink("dir", filepath.Join(from, "to-dir")))
	check(unix.Mkfifo(filepath.Join(from, "fifo"), 0o622))
	check(os.WriteFile(filepath.Join(from, strings.Repeat("n", 255)), nil, 0o400))
	check(os.WriteFile(filepath.Join(from, "odd \n:é\xff"), []byte("x"), 0o600))
	for _, f := range []string{"dir/file", "dir/empty", "dir"} {
		check(os.Chtimes(filepath.Join(from, f), old, old))
	}
	check(os.Chmod(filepath.Join(from, "dir"), 0o555))
	t.Cleanup(func() { os.Chmod(filepath.Join(from, "dir"), 0o755) })
	var plain, zipped bytes.Buffer
	packed, err := Pack(&plain, from, "tree", PackOptions{})
	check(err)
	z := gzip.NewWriter(&zipped)
	z.Write(plain.Bytes())
	z.Close()
	for name, in := range map[string]*bytes.Buffer{"plain": &plain, "gzip": &zipped} {
		to := t.TempDir()
		done, err := Unpack(in, to, Options{As: "copy", Owners: os.Geteuid() == 0})
		if err != nil || done != packed || done.LeftOut != 0 {
			t.Errorf("%s: packed %+v, unpacked %+v, %v", name, packed, done, err)
		}
		same(t, from, filepath.Join(to, "copy"))
		os.Chmod(filepath.Join(to, "copy/dir"), 0o755)
	}
}

// same compares two trees.
func same(t *testing.T, a, b string) {
	t.Helper()
	list := func(top string) map[string]string {
		all := map[string]string{}
		check := filepath.WalkDir(top, func(file string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			st := stat(t, file)
			text := ""
			switch st.Mode & syscall.S_IFMT {
			case syscall.S_IFREG:
				data, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				text = string(data)
			case syscall.S_IFLNK:
				text, _ = os.Readlink(file)
			}
			rel, _ := filepath.Rel(top, file)
			links := st.Nlink
			if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
				links = 0 // not every file system counts them
			}
			all[rel] = fmt.Sprintf("%o %d:%d %d %v %d bytes %s", st.Mode, st.Uid, st.Gid, links, st.Mtim, len(text), text[:min(len(text), 40)])
			return nil
		})
		if check != nil {
			t.Fatal(check)
		}
		return all
	}
	x, y := list(a), list(b)
	if len(x) != len(y) {
		t.Errorf("%d names, and %d", len(x), len(y))
	}
	for name, want := range x {
		if y[name] != want {
			t.Errorf("%q: %s, and %s", name, want, y[name])
		}
	}
}

// TestFollow checks that a guest's own links to directories are followed if asked for.
func TestFollow(t *testing.T) {
	at := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(at, "usr"), 0o755), os.Symlink("usr", filepath.Join(at, "bin"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(bytes.NewReader(archive(t, reg("bin/tool", "x"))), at, Options{Follow: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(at, "usr/tool")); err != nil {
		t.Error(err)
	}
}

// TestOneView checks that the kernel's own file systems are left out.
func TestOneView(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a file system")
	}
	at := t.TempDir()
	if err := os.Mkdir(filepath.Join(at, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("proc", filepath.Join(at, "proc"), "proc", 0, ""); err != nil {
		t.Skip(err)
	}
	defer unix.Unmount(filepath.Join(at, "proc"), unix.MNT_DETACH)
	done, err := Pack(io.Discard, at, "top", PackOptions{OneView: true})
	if err != nil || done.Entries != 2 {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestKernelFiles checks that a file whose size the kernel does not tell is read.
func TestKernelFiles(t *testing.T) {
	var b bytes.Buffer
	done, err := Pack(&b, "/proc/self/status", "status", PackOptions{})
	if err != nil || done.Entries != 1 || done.LeftOut != 0 || done.Bytes == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	at := t.TempDir()
	if _, err := Unpack(&b, at, Options{}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(at, "status")); err != nil || !strings.HasPrefix(string(text), "Name:") {
		t.Errorf("%q, %v", text, err)
	}
}

// TestFullDisk checks that a file that does not fit leaves no half of it.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a file system")
	}
	at := t.TempDir()
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip(err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	done, err := Unpack(bytes.NewReader(archive(t, reg("fits", "x"), reg("large", strings.Repeat("x", 1<<20)))), at, Options{})
	if !errors.Is(err, unix.ENOSPC) || done.Entries != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(at, "large")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
