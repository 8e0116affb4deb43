package mounts

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mountinfo")
	const table = `22 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
40 22 0:5 / /proc rw,nosuid - proc proc rw
nonsense
41 22 8:1 /a\040b//deleted /mnt/with\134slash rw - ext4 /dev/sda1 rw
42 22 0:6 / /no/type rw -
`
	if err := os.WriteFile(path, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{22, "8:1", "/", "/", "ext4", "rw"},
		{40, "0:5", "/", "/proc", "proc", "rw"},
		{41, "8:1", "/a b//deleted", `/mnt/with\slash`, "ext4", "rw"},
	}
	if got, err := Read(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if all, err := Read(Self); err != nil || !slices.ContainsFunc(all, func(e Entry) bool { return e.Point == "/proc" && e.Type == "proc" }) {
		t.Errorf("this process's own: %+v, %v", all, err)
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a/b", "/a", true}, {"/a", "/", true}, {"/a", "/a", false}, {"/", "/", false}, {"/ab", "/a", false}, {"/a", "/a/b", false},
	} {
		if got := Below(c.path, c.dir); got != c.want {
			t.Errorf("%s below %s: %v", c.path, c.dir, got)
		}
		if got := Within(c.path, c.dir); got != (c.want || c.path == c.dir) {
			t.Errorf("%s within %s: %v", c.path, c.dir, got)
		}
	}
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	device, root, err := Locate(dir)
	if err != nil || device == "" || !filepath.IsAbs(root) || filepath.Base(root) != filepath.Base(dir) {
		t.Errorf("%s at %q of device %q, %v", dir, root, device, err)
	}
	if _, root, err := Locate("/proc"); err != nil || root != "/" {
		t.Errorf("/proc at %q, %v", root, err)
	}
	if _, _, err := Locate(dir + "/absent"); err == nil {
		t.Error("what is absent lies somewhere")
	}
}
