package block

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	reader "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/images/erofs"
	"openshell-vm/drivers/vm/images/imagetest"
)

// convert makes an image of layers.
func convert(t testing.TB, layers ...*imagetest.Layer) (string, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []Layer
	for _, l := range layers {
		all = append(all, l)
	}
	return f.Name(), Write(f, all, erofs.Options{Volume: "test"})
}

// list reads an image with another implementation of the format, and checks it with a third
// one if that is installed. It returns a line for each file.
func list(t *testing.T, layers ...*imagetest.Layer) (lines []string) {
	t.Helper()
	name, err := convert(t, layers...)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("fsck.erofs", name).CombinedOutput(); err != nil && !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("fsck.erofs: %v: %s", err, out)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image, err := reader.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(image, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		lines = append(lines, line(t, image, path, d))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// line leaves out setuid, setgid and sticky: that reader does not show them.
func line(t *testing.T, image fs.FS, path string, d fs.DirEntry) string {
	t.Helper()
	info, err := d.Info()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*reader.Stat)
	text := fmt.Sprintf("%s %v %d:%d", path, info.Mode(), st.UID, st.GID)
	switch {
	case info.Mode().IsRegular():
		data, err := fs.ReadFile(image, path)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 40 {
			data = append(data[:20], fmt.Sprintf("…%d", len(data))...)
		}
		text += fmt.Sprintf(" %q", data)
		if st.Nlink != 1 {
			text += fmt.Sprintf(" names=%d", st.Nlink)
		}
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := fs.ReadLink(image, path)
		if err != nil {
			t.Fatal(err)
		}
		text += " -> " + to
	case info.Mode()&fs.ModeDevice != 0:
		text += fmt.Sprintf(" %x", st.Rdev)
	}
	for name, value := range st.Xattrs {
		text += fmt.Sprintf(" %s=%q", name, value)
	}
	return text
}

// TestLayers: what several layers make together.
func TestLayers(t *testing.T) {
	new := func() *imagetest.Layer { return imagetest.NewLayer(t) }
	for name, test := range map[string]struct {
		layers []*imagetest.Layer
		want   []string // beside the root
	}{
		"a later file counts": {
			[]*imagetest.Layer{new().File("a", "1").File("b", "1"), new().File("a", "2")},
			[]string{`a -rw-r--r-- 0:0 "2"`, `b -rw-r--r-- 0:0 "1"`}},
		"whiteouts": {
			[]*imagetest.Layer{new().Dir("d").File("d/a", "1").File("d/b", "1").File("c", "1"), new().File("d/.wh.a", "").File(".wh.c", "")},
			[]string{`d drwxr-xr-x 0:0`, `d/b -rw-r--r-- 0:0 "1"`}},
		"a whiteout hides nothing of its own layer": {
			[]*imagetest.Layer{new().File("d/old", "1"), new().File("d/new", "2").File(".wh.d", "").File("e", "2")},
			[]string{`d drwxr-xr-x 0:0`, `d/new -rw-r--r-- 0:0 "2"`, `e -rw-r--r-- 0:0 "2"`}},
		"opaque, before and after": {
			[]*imagetest.Layer{new().File("d/a", "1").File("d/s/b", "1"), new().File("d/s/n", "2").File("d/.wh..wh..opq", "").File("d/c", "2")},
			[]string{`d drwxr-xr-x 0:0`, `d/c -rw-r--r-- 0:0 "2"`, `d/s drwxr-xr-x 0:0`, `d/s/n -rw-r--r-- 0:0 "2"`}},
		"a directory's later description": {
			[]*imagetest.Layer{new().Dir("d").File("d/a", "1"), new().Add(tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o1700, Uid: 7, Gid: 8}, "")},
			[]string{`d drwx------ 7:8`, `d/a -rw-r--r-- 0:0 "1"`}},
		"the root's": {
			[]*imagetest.Layer{new().Add(tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 9}, "")}, nil},
		"a file in a directory's place, and back": {
			[]*imagetest.Layer{new().File("d/a", "1").File("f", "1"), new().File("d", "2").File("f/x", "2")},
			[]string{`d -rw-r--r-- 0:0 "2"`, `f drwxr-xr-x 0:0`, `f/x -rw-r--r-- 0:0 "2"`}},
		"twice in one layer": {
			[]*imagetest.Layer{new().File("a", "1").File("a", "22").Dir("d").File("d/x", "1").Dir("d")},
			[]string{`a -rw-r--r-- 0:0 "22"`, `d drwxr-xr-x 0:0`, `d/x -rw-r--r-- 0:0 "1"`}},
		"hard links": {
			[]*imagetest.Layer{new().File("a", "1").Link("d/b", "a").Link("c", "./d/b").Link("a", "a")},
			[]string{`a -rw-r--r-- 0:0 "1" names=3`, `c -rw-r--r-- 0:0 "1" names=3`, `d drwxr-xr-x 0:0`, `d/b -rw-r--r-- 0:0 "1" names=3`}},
		"a hard link of which one name is replaced": {
			[]*imagetest.Layer{new().File("a", "1").Link("b", "a").Link("c", "a"), new().File("a", "2").File(".wh.c", "")},
			[]string{`a -rw-r--r-- 0:0 "2"`, `b -rw-r--r-- 0:0 "1"`}},
		"a hard link to an earlier layer": {
			[]*imagetest.Layer{new().File("a", "1"), new().Link("b", "a")},
			[]string{`a -rw-r--r-- 0:0 "1" names=2`, `b -rw-r--r-- 0:0 "1" names=2`}},
		"through a link of its own layer": {
			[]*imagetest.Layer{new().Dir("usr").Symlink("lib", "usr").File("lib/a", "1").Symlink("out", "../../etc").File("out/b", "1").
				Symlink("abs", "/usr/../usr").File("abs/c", "1")},
			[]string{"abs Lrwxrwxrwx 0:0 -> /usr/../usr", "etc drwxr-xr-x 0:0", `etc/b -rw-r--r-- 0:0 "1"`, "lib Lrwxrwxrwx 0:0 -> usr",
				"out Lrwxrwxrwx 0:0 -> ../../etc", "usr drwxr-xr-x 0:0", `usr/a -rw-r--r-- 0:0 "1"`, `usr/c -rw-r--r-- 0:0 "1"`}},
		"a link of an earlier layer is replaced, as Docker does": {
			[]*imagetest.Layer{new().Dir("usr").Symlink("lib", "usr"), new().File("lib/a", "2")},
			[]string{"lib drwxr-xr-x 0:0", `lib/a -rw-r--r-- 0:0 "2"`, "usr drwxr-xr-x 0:0"}},
		"absolute names": {
			[]*imagetest.Layer{new().File("/etc/a", "1").File("//b/./c", "1")},
			[]string{"b drwxr-xr-x 0:0", `b/c -rw-r--r-- 0:0 "1"`, "etc drwxr-xr-x 0:0", `etc/a -rw-r--r-- 0:0 "1"`}},
		"types, owners and attributes": {
			[]*imagetest.Layer{new().
				Add(tar.Header{Name: "s", Mode: 0o6755, Uid: 70000, Gid: 1<<32 - 2}, "x").
				Add(tar.Header{Name: "p", Typeflag: tar.TypeFifo}, "").
				Add(tar.Header{Name: "c", Typeflag: tar.TypeChar, Devmajor: 4095, Devminor: 1<<20 - 1}, "").
				Add(tar.Header{Name: "b", Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: 1}, "").
				Add(tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "1"}}, "")},
			[]string{"b Drw-r--r-- 0:0 801", "c Dcrw-r--r-- 0:0 ffffffff", "p prw-r--r-- 0:0", `s -rwxr-xr-x 70000:4294967294 "x"`, `x -rw-r--r-- 0:0 "" user.a="1"`}},
		"no orders to an overlay": {
			[]*imagetest.Layer{new().Add(tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.nonsense": "y"}}, "").
				File(".wh..wh.aufs", "").File(".wh..wh.plnk/1.2", "")},
			[]string{`x -rw-r--r-- 0:0 ""`}},
		"sizes": {
			[]*imagetest.Layer{new().File("a", strings.Repeat("a", 2048)).File("b", strings.Repeat("b", 2049)).File("c", strings.Repeat("c", 4096)).
				File("d", strings.Repeat("d", 8193)).File("e", strings.Repeat("\x00", 8192)+"e")},
			[]string{`a -rw-r--r-- 0:0 "aaaaaaaaaaaaaaaaaaaa…2048"`, `b -rw-r--r-- 0:0 "bbbbbbbbbbbbbbbbbbbb…2049"`, `c -rw-r--r-- 0:0 "cccccccccccccccccccc…4096"`,
				`d -rw-r--r-- 0:0 "dddddddddddddddddddd…8193"`, `e -rw-r--r-- 0:0 "` + strings.Repeat(`\x00`, 20) + `…8193"`}},
		"nothing": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := list(t, test.layers...)[1:]
			if !slices.Equal(got, test.want) && len(got)+len(test.want) > 0 {
				t.Errorf("it has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestHostile: what no honest tool makes is refused, with the layer named.
func TestHostile(t *testing.T) {
	new := func() *imagetest.Layer { return imagetest.NewLayer(t) }
	manyLayers := make([]*imagetest.Layer, maxLayers+1)
	for i := range manyLayers {
		manyLayers[i] = new()
	}
	for name, test := range map[string]struct {
		layers []*imagetest.Layer
		want   string
	}{
		"up":                 {[]*imagetest.Layer{new().File("../a", "")}, "leads out of it"},
		"up within":          {[]*imagetest.Layer{new().File("a/../../b", "")}, "leads out of it"},
		"absolute up":        {[]*imagetest.Layer{new().File("/../etc/passwd", "")}, "leads out of it"},
		"link up":            {[]*imagetest.Layer{new().Link("a", "../../etc/passwd")}, "leads out of it"},
		"link to nothing":    {[]*imagetest.Layer{new().Link("a", "etc/shadow")}, "which is not in the image"},
		"link out":           {[]*imagetest.Layer{new().Symlink("d", "/proc/self").Link("a", "d/environ")}, "which is not in the image"},
		"link to directory":  {[]*imagetest.Layer{new().Dir("d").Link("d/e", "d")}, "a link to the directory"},
		"circle":             {[]*imagetest.Layer{new().Symlink("a", "b").Symlink("b", "a").File("a/x", "")}, "in a circle"},
		"itself":             {[]*imagetest.Layer{new().Symlink("a", "a/b").File("a/x", "")}, "in a circle"},
		"empty link":         {[]*imagetest.Layer{new().Symlink("a", "")}, "is a link to"},
		"long link":          {[]*imagetest.Layer{new().Symlink("a", strings.Repeat("x", 5000))}, "is a link to"},
		"long name":          {[]*imagetest.Layer{new().File(strings.Repeat("n", 256), "")}, "name of 256 bytes"},
		"long path":          {[]*imagetest.Layer{new().File(strings.Repeat("a/", 2048)+"b", "")}, "name of 4097 bytes"},
		"root is a file":     {[]*imagetest.Layer{new().File(".", "x")}, "root is no directory"},
		"whiteout of all":    {[]*imagetest.Layer{new().File("a/.wh.", "")}, "it hides"},
		"whiteout of parent": {[]*imagetest.Layer{new().File("a/.wh...", "")}, "it hides"},
		"odd device":         {[]*imagetest.Layer{new().Add(tar.Header{Name: "a", Typeflag: tar.TypeChar, Devmajor: 4096}, "")}, "can't exist"},
		"huge owner":         {[]*imagetest.Layer{new().Add(tar.Header{Name: "a", Uid: 1 << 33, Format: tar.FormatGNU}, "")}, "can't exist"},
		"negative owner":     {[]*imagetest.Layer{new().Add(tar.Header{Name: "a", Uid: -2, Format: tar.FormatGNU}, "")}, "can't exist"},
		"unknown type":       {[]*imagetest.Layer{new().Add(tar.Header{Name: "a", Typeflag: 'V'}, "")}, "not known"},
		"large attributes":   {[]*imagetest.Layer{new().Add(tar.Header{Name: "a", PAXRecords: attrs(3, 30<<10)}, "")}, "attributes of more than"},
		"many layers":        {manyLayers, "more than 500"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := convert(t, test.layers...)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "layer sha256:test: ") || !errors.Is(err, ErrHostile) {
				t.Errorf("%v, not …%s", err, test.want)
			}
		})
	}
}

func attrs(n, size int) map[string]string {
	records := map[string]string{}
	for i := range n {
		records[fmt.Sprintf("SCHILY.xattr.user.%d", i)] = strings.Repeat("x", size)
	}
	return records
}

// raw is a layer of any bytes.
type raw []byte

func (raw) Name() string { return "raw" }

func (r raw) Open() (io.ReadCloser, error) { return nopCloser{bytes.NewReader(r)}, nil }

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

// TestAbsurdSizes: a header may claim any size. Neither memory nor disk is taken for it.
func TestAbsurdSizes(t *testing.T) {
	var header bytes.Buffer
	w := tar.NewWriter(&header)
	if err := w.WriteHeader(&tar.Header{Name: "a", Size: 1 << 50, Mode: 0o644, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = Write(f, []Layer{raw(header.Bytes())}, erofs.Options{})
	if !errors.Is(err, ErrHostile) || !strings.Contains(err.Error(), "more than 256 GiB") {
		t.Errorf("%v", err)
	}
}

// TestHolesTakeNoRoom: zeros, and what a later layer replaces, are holes in the image's file.
func TestHolesTakeNoRoom(t *testing.T) {
	const size = 8 << 20
	text := bytes.Repeat([]byte("not nothing. "), size/13)
	name, err := convert(t, imagetest.NewLayer(t).File("zeros", strings.Repeat("\x00", size)).File("replaced", string(text)),
		imagetest.NewLayer(t).File("replaced", "small"))
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size < 2*size-4096 {
		t.Errorf("the image has %d bytes", st.Size)
	}
	if used := st.Blocks * 512; used > 1<<20 {
		t.Errorf("the image takes %d bytes of the disk", used)
	}
}

// TestMuchToRemember: what is kept in memory is bounded in sum.
func TestMuchToRemember(t *testing.T) {
	for _, b := range []*builder{{held: maxHeld - 10}, {entries: maxEntries}} {
		b.tree = newTree(func(*erofs.Inode) {})
		err := b.add(bytes.NewReader(imagetest.NewLayer(t).Symlink("a", "a long enough target").Bytes()))
		if !errors.Is(err, ErrHostile) || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%v", err)
		}
	}
}

// TestNoRoom: a disk with little room is not filled.
func TestNoRoom(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := erofs.New(f, erofs.Options{})
	left := uint64(minFree + 1)
	b := &builder{tree: newTree(w.Discard), out: w, free: func() (uint64, error) { left -= 1; return left, nil }}
	layer := imagetest.NewLayer(t).File("a", strings.Repeat("a", freeEvery)).File("b", strings.Repeat("b", freeEvery))
	if err := addLayer(b, layer); !errors.Is(err, ErrNoRoom) {
		t.Errorf("%v", err)
	}
}

// TestManyFiles converts 50,000 small files, many of them in one directory.
func TestManyFiles(t *testing.T) {
	l := imagetest.NewLayer(t)
	for i := range 50_000 {
		l.File(fmt.Sprintf("d/%d/file-%d", min(i/500, 50), i), fmt.Sprintln("file", i))
	}
	lines := list(t, l)
	if len(lines) != 50_000+2+51 {
		t.Errorf("it has %d files", len(lines))
	}
	if want := fmt.Sprintf("d/50/file-49999 -rw-r--r-- 0:0 %q", "file 49999\n"); !slices.Contains(lines, want) {
		t.Errorf("it lacks %s", want)
	}
}

// FuzzLayer: whatever a layer is, it is an image that others can read, or refused.
func FuzzLayer(f *testing.F) {
	for _, l := range []*imagetest.Layer{
		imagetest.NewLayer(f).Dir("d").File("d/a", "1").Symlink("l", "d").File("l/x", "2").Link("h", "d/a"),
		imagetest.NewLayer(f).File(".wh.a", "").File("d/.wh..wh..opq", "").File("../x", ""),
	} {
		f.Add(l.Bytes())
	}
	f.Fuzz(func(t *testing.T, layer []byte) {
		file, err := os.Create(filepath.Join(t.TempDir(), "image"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if Write(file, []Layer{raw(layer), raw(layer)}, erofs.Options{}) != nil {
			return
		}
		image, err := reader.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		err = fs.WalkDir(image, ".", func(_ string, d fs.DirEntry, err error) error {
			if err == nil {
				_, err = d.Info()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
