package drivers

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestExposure(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"home/state/keys", "other", "home/run"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("home/state/keys", filepath.Join(top, "alias")); err != nil {
		t.Fatal(err)
	}
	hidden := []string{filepath.Join(top, "home/state"), filepath.Join(top, "home/run"), filepath.Join(top, "absent")}
	for _, c := range []struct {
		source  string
		masks   []string
		refused bool
	}{
		{source: "other"},
		{source: "home", masks: []string{"run", "state"}},
		{source: ".", masks: []string{"home/run", "home/state"}},
		{source: "home/state", refused: true},
		{source: "home/state/keys", refused: true},
		{source: "alias", refused: true},
	} {
		masks, err := Exposure(filepath.Join(top, c.source), hidden)
		slices.Sort(masks)
		if (err != nil) != c.refused || !slices.Equal(masks, c.masks) {
			t.Errorf("%s: masks %v, error %v; wanted %v, refused %v", c.source, masks, err, c.masks, c.refused)
		}
		if err != nil && HintOf(err) == "" {
			t.Errorf("%s: no hint with %v", c.source, err)
		}
	}
	if _, err := Exposure(filepath.Join(top, "absent"), hidden); !os.IsNotExist(err) {
		t.Errorf("a source that is absent: %v", err)
	}
}

func TestNewMountRefuses(t *testing.T) {
	for _, c := range [][2]string{
		{"relative", "/x"}, {"/a/../b", "/x"}, {"/a", "x"}, {"/a", "/x/"}, {"/a", "/"},
		{"/a", "/proc"}, {"/a", "/proc/x"}, {"/a", "/dev/shm"}, {"/a", "/sys/fs"}, {"/a\n", "/x"}, {"/a", "/x\x00"},
	} {
		if _, err := NewMount(c[0], c[1]); err == nil {
			t.Errorf("NewMount(%q, %q) was taken", c[0], c[1])
		}
	}
	m, err := NewMount("/a", "/device/x") // only whole names are the kernel's
	if err != nil || m.Source() != "/a" || m.Target() != "/device/x" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestHintOf(t *testing.T) {
	inner := &Error{Op: "connect", Err: errors.New("refused"), Hint: "start it"}
	if got := HintOf(&Error{Op: "start", Err: inner, Hint: "outer"}); got != "start it" {
		t.Errorf("hint %q, the innermost is wanted", got)
	}
	if got := (&Error{Op: "start", Err: inner}).Error(); got != "start: connect: refused" {
		t.Errorf("message %q", got)
	}
}
