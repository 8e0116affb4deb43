package block

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	reader "github.com/erofs/go-erofs"

	"openshell-vm/drivers/vm/images/imagetest"
)

// TestRare: what few layers have, and no tool of today makes.
func TestRare(t *testing.T) {
	new := func() *imagetest.Layer { return imagetest.NewLayer(t) }
	link := func(h tar.Header) tar.Header {
		h.Name, h.Typeflag, h.Linkname = "b", tar.TypeLink, "a"
		return h
	}
	for name, test := range map[string]struct {
		layer *imagetest.Layer
		want  []string
	}{
		"a link's own owner, mode and attributes": {
			new().Add(tar.Header{Name: "a", Mode: 0o600, Uid: 1, Gid: 2, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "1"}}, "x").
				Add(link(tar.Header{Mode: 0o755, Uid: 3, Gid: 4, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "2"}}), ""),
			[]string{`a -rwxr-xr-x 3:4 "x" names=2 user.a="2"`, `b -rwxr-xr-x 3:4 "x" names=2 user.a="2"`}},
		"a link that says nothing of attributes": {
			new().Add(tar.Header{Name: "a", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "1"}}, "x").Add(link(tar.Header{Uid: 3}), ""),
			[]string{`a -rw-r--r-- 3:0 "x" names=2 user.a="1"`, `b -rw-r--r-- 3:0 "x" names=2 user.a="1"`}},
		"a link to a symbolic link": {
			new().Symlink("a", "c").Add(link(tar.Header{Mode: 0o600, Uid: 3}), ""),
			[]string{"a Lrwxrwxrwx 3:0 -> c", "b Lrwxrwxrwx 3:0 -> c"}},
		"what AUFS kept": {new().File(".wh..wh.plnk/12.34", "x").File("d/.wh..wh.orph/1", "x").File("a", ""), []string{`a -rw-r--r-- 0:0 ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := list(t, test.layer)[1:]; !slices.Equal(got, test.want) {
				t.Errorf("it has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
	for name, test := range map[string]struct {
		layer *imagetest.Layer
		want  string
	}{
		"a link in the place of what it leads into": {new().File("d/f", "content").Link("d", "d/f"), "in the directory"},
		"below a whiteout":                          {new().File("x/.wh.y/z", ""), ".wh.y"},
		"a link to below a whiteout":                {new().Symlink("l", "x/.wh.y").File("l/z", ""), ".wh.y"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := convert(t, test.layer); !errors.Is(err, ErrHostile) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, not …%s", err, test.want)
			}
		})
	}
}

// TestOldTimes: a file older than 1970 is of 1970, as Docker makes it.
func TestOldTimes(t *testing.T) {
	old := time.Date(1961, 4, 12, 6, 7, 0, 500_000_000, time.UTC)
	name, err := convert(t, imagetest.NewLayer(t).Add(tar.Header{Name: "a", ModTime: old, Format: tar.FormatPAX}, ""))
	if err != nil {
		t.Fatal(err)
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
	info, err := fs.Stat(image, "a")
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(time.Unix(0, 0)) {
		t.Errorf("it is of %v", info.ModTime())
	}
}
