package drivers

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// The kernel's own file systems are refused, whatever path leads to them. Below a source they
// are found.
func TestExposureOfTheKernel(t *testing.T) {
	dir := t.TempDir()
	for name, to := range map[string]string{"proc": "/proc", "process": "/proc/self", "cwd": "/proc/self/cwd", "root": "/proc/self/root/usr"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, source := range []string{"/proc", "/proc/self", "/proc/sys/kernel", "/proc/self/root", "/proc/self/cwd", "/proc/self/root/usr",
		dir + "/proc", dir + "/process", dir + "/cwd", dir + "/root"} {
		if masks, err := Exposure(source, nil); err == nil || HintOf(err) == "" {
			t.Errorf("%s: masks %v, error %v", source, masks, err)
		}
	}
	masks, err := Exposure("/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"proc", "run"} {
		if !slices.Contains(masks, want) {
			t.Errorf("below / only %v is covered, not %s", masks, want)
		}
	}
	for _, m := range masks {
		if strings.HasPrefix(m, "proc/") || strings.HasPrefix(m, "run/") {
			t.Errorf("%s is covered twice", m)
		}
	}
	if masks, err := Exposure("/usr", nil); err != nil || len(masks) != 0 {
		t.Errorf("/usr: %v, %v", masks, err)
	}
}

// A control socket's directory is refused. In a directory that contains it, it is masked.
func TestExposureOfControlSockets(t *testing.T) {
	top, err := os.MkdirTemp("", "sock") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	for _, name := range []string{"own", "variable", "other", "home/user/1/podman", "plain"} {
		if err := os.MkdirAll(filepath.Join(top, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"own/d.sock", "variable/d.sock", "other/p.sock", "home/user/1/podman/podman.sock", "plain/any.sock"} {
		l, err := net.Listen("unix", filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	if err := os.Symlink("own", filepath.Join(top, "alias")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", "unix://"+top+"/variable/d.sock")
	t.Setenv("CONTAINER_HOST", "unix://"+top+"/other/p.sock")
	t.Setenv("XDG_RUNTIME_DIR", top+"/home/user/1")
	own := top + "/alias/d.sock"
	masks, err := Exposure(top, nil, own)
	if want := []string{"home/user/1", "other", "own", "variable"}; err != nil || !slices.Equal(masks, want) {
		t.Errorf("covered is %v, %v; wanted %v", masks, err, want)
	}
	for _, source := range []string{"own", "alias", "variable", "other", "home/user/1", "home/user/1/podman"} {
		if _, err := Exposure(filepath.Join(top, source), nil, own); err == nil || HintOf(err) == "" {
			t.Errorf("%s: %v", source, err)
		}
	}
	for _, source := range []string{"plain"} { // a program's own socket rules that program only
		if masks, err := Exposure(filepath.Join(top, source), nil, own); err != nil || len(masks) != 0 {
			t.Errorf("%s: %v, %v", source, masks, err)
		}
	}
	for _, source := range []string{"/run", "/var/run"} {
		if _, err := os.Stat(source); err != nil {
			continue
		}
		if _, err := Exposure(source, nil); err == nil {
			t.Errorf("%s is shown", source)
		}
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
