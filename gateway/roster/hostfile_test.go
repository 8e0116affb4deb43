package roster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/vocab"
)

// TestMayFollow: nothing is a source that a sandbox can write, or can lead elsewhere by a link.
func TestMayFollow(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"state", "mount", "rootfs", "ephemeral", "mine"} {
		if err := os.Mkdir(in(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"state/key", "mount/file", "rootfs/file", "ephemeral/file", "mine/file", "mine/alone"} {
		if err := os.WriteFile(in(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"mine/through": in("mount/hop"), "mount/hop": in("mine/file"), "mine/dir": in("mount/up"),
		"mount/up": in("mine"), "mine/good": "file", "mine/into": in("mount/file"), "mine/loop": "loop"} {
		if err := os.Symlink(to, in(from)); err != nil {
			t.Fatal(err)
		}
	}
	r := New(&state.Home{Places: state.Places{State: in("state"), Runtime: in("state"), Shares: dir}}, lease.Options{}, func() {})
	for id, q := range map[string]state.Request{
		"aaaaaaaaaaaa": {Mounts: []vocab.Mount{{Source: in("mount"), Target: "/m", Writable: true}, {Source: in("mine"), Target: "/r"},
			{Source: in("mine/alone"), Target: "/a", Writable: true}}},
		"bbbbbbbbbbbb": {Rootfs: in("rootfs")}, "cccccccccccc": {Rootfs: in("ephemeral"), Ephemeral: true},
	} {
		it, err := r.NewItem(&state.Record{ID: id, Name: "box" + id, Share: in(id), Request: q}, owner{})
		if err == nil {
			err = r.Add(it)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, says := range map[string]string{
		"mine/file": "", "mine/good": "", "ephemeral/file": "", "mine/missing": "",
		"state/key": "gateway's own", "mount/file": "can write to", "mount/none": "can write to", "mine/into": "can write to",
		"mine/through": "can write to", "mine/dir/file": "can write to", "rootfs/file": "can write to", "mine/loop": "", "mount": "can write to", "mine/alone": "can write to",
	} {
		if err := r.MayFollow(in(path)); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", path, err, says)
		}
	}
}
