package drivers

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJudgeWritable: what would be masked in a read-only mount is refused in a writable one,
// by whatever name. A volume in the hidden directory is not.
func TestJudgeWritable(t *testing.T) {
	top, err := os.MkdirTemp("", "w") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	for _, dir := range []string{"home/state/keys", "home/state/volumes/v/data", "home/src", "sockets/engine", "links"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"links/state": "../home/state", "links/home": "../home", "links/root": "/", "links/src": "../home/src"} {
		if err := os.Symlink(to, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(top+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", top+"/sockets/engine/e.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own := top + "/sockets/engine/e.sock"
	judge := func(source, volume string) ([]Tree, error) {
		w, err := NewWritable(source, "/w", volume)
		if err != nil {
			t.Fatal(err)
		}
		auth, err := NewMount(top+"/home/state", AuthDir)
		if err != nil {
			t.Fatal(err)
		}
		return JudgeWritable(Spec{Auth: auth, Writable: []Writable{w}, Hidden: []string{top + "/home/state"}}, own)
	}
	for source, says := range map[string]string{
		"/": "the whole host", top + "/links/root": "the whole host", "/proc": "/proc", "/sys/kernel": "the kernel's own", "/run": "control sockets",
		top: "it contains", top + "/home": "/home/state, which", top + "/links/home": "/links/home/state, which",
		top + "/home/state": "it lies in", top + "/links/state": "it lies in", top + "/home/state/keys": "it lies in",
		top + "/home/state/volumes/v/data": "it lies in", top + "/sockets": "/sockets/engine, which", top + "/sockets/engine": "control sockets",
		top + "/file": "is a file", top + "/absent": "does not exist",
	} {
		trees, err := judge(source, "")
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || HintOf(err) == "" {
			t.Errorf("%s: %+v, %v (%s); wanted %q", source, trees, err, HintOf(err), says)
		}
	}
	for source, volume := range map[string]string{top + "/home/src": "", top + "/links/src": "", top + "/home/state/volumes/v/data": "v"} {
		trees, err := judge(source, volume)
		if err != nil || len(trees) != 1 || trees[0].Is == (Directory{}) || trees[0].Masks != nil {
			t.Errorf("%s: %+v, %v", source, trees, err)
		}
	}
	if _, err := judge(top+"/absent", "v"); err == nil || HintOf(err) == "" {
		t.Errorf("a volume that is not there: %v", err)
	}
}

// TestLinksInAWritableSource: the guest may have put a link in the place of what is mounted
// beside it.
func TestLinksInAWritableSource(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(top+"/work/sub/deep", 0o755), os.MkdirAll(top+"/secret/deep", 0o755),
		os.Symlink("../secret", top+"/work/link"), os.Symlink("work", top+"/alias")); err != nil {
		t.Fatal(err)
	}
	for source, refused := range map[string]bool{
		"/work/sub": false, "/work/sub/deep": false, "/work": false, "/secret": false, "/work/link": true, "/work/link/deep": true,
	} {
		m, err1 := NewMount(top+source, "/m")
		w, err2 := NewWritable(top+"/work", "/w", "")
		inner, err3 := NewWritable(top+source, "/i", "")
		auth, err4 := NewMount(top, AuthDir)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		for what, spec := range map[string]Spec{
			"read-only": {Auth: auth, Mounts: []Mount{m}, Writable: []Writable{w}},
			"writable":  {Auth: auth, Writable: []Writable{w, inner}},
			"root":      {Auth: auth, Writable: []Writable{w}, VM: VM{Rootfs: top + source}},
		} {
			_, err := JudgeWritable(spec)
			if (err != nil) != refused || refused && (HintOf(err) == "" || !strings.Contains(err.Error(), "leads through a link")) {
				t.Errorf("%s, %s: %v", source, what, err)
			}
		}
	}
	alias, err1 := NewWritable(top+"/alias", "/w", "")
	m, err2 := NewMount(top+"/work/link/deep", "/m")
	auth, err3 := NewMount(top, AuthDir)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if _, err := JudgeWritable(Spec{Auth: auth, Writable: []Writable{alias}}); err != nil {
		t.Errorf("a link that the sandbox can't write to: %v", err)
	}
	if _, err := JudgeWritable(Spec{Auth: auth, Writable: []Writable{alias}, Mounts: []Mount{m}}); err == nil {
		t.Error("a link in a directory that is given by another name is followed")
	}
}

// TestTargetsOfBothKinds: a writable mount and a read-only one can't have one target, and
// neither may cover the share.
func TestTargetsOfBothKinds(t *testing.T) {
	dir := t.TempDir()
	spec := func(read, write string) Spec {
		m, err := NewMount(dir, read)
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWritable(dir, write, "")
		if err != nil {
			t.Fatal(err)
		}
		auth, err := NewMount(dir, AuthDir)
		if err != nil {
			t.Fatal(err)
		}
		return Spec{Auth: auth, Mounts: []Mount{m}, Writable: []Writable{w}}
	}
	for _, c := range []struct {
		read, write string
		refused     bool
	}{
		{"/a", "/b", false}, {"/a", "/a/b", false}, {"/a/b", "/a", false},
		{"/a", "/a", true}, {"/a", "/etc", true}, {"/a", "/etc/openshell/auth/x", true},
	} {
		_, one := JudgeMounts(spec(c.read, c.write))
		_, two := JudgeWritable(spec(c.read, c.write))
		if (one != nil) != c.refused || (two != nil) != c.refused {
			t.Errorf("%s read-only, %s writable: %v, %v", c.read, c.write, one, two)
		}
	}
}
