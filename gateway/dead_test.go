package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/whichdir/deadfs"
)

// TestDeadFileSystem: one sandbox writes to a file system that ceases to answer, and another follows a
// file there. That one tells of it and keeps what it has. Everybody else goes on, and sandboxes are made.
func TestDeadFileSystem(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		w.must(os.MkdirAll(filepath.Dir(path), 0o700))
		w.must(os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	dead, good, mine := filepath.Dir(write("dead/x", "")), write("good", "one"), write("own/f", "held")
	w.create(api.CreateRequest{Name: "writer", Mounts: []api.Mount{{Source: dead, Target: "/m", Writable: true}}})
	box := w.create(api.CreateRequest{Name: "box", Sources: []api.Source{{Name: "good", File: good}, {Name: "own", File: mine}}})
	w.start("box")
	deadfs.Mount(t, dead)
	deadfs.Mount(t, filepath.Dir(mine))
	shows := func(name, want string) bool {
		data, _ := os.ReadFile(filepath.Join(box.Share, name))
		return string(data) == want
	}
	for _, text := range []string{"two", "three"} {
		write("good", text)
		w.eventually("what others follow is published", func() bool { return shows("good", text) })
	}
	w.eventually("it is told", func() bool {
		warnings := w.get("box").Warnings
		return len(warnings) == 1 && strings.Contains(warnings[0], "own is not renewed") && strings.Contains(warnings[0], "does not answer")
	})
	if _, err := w.client.Tokens.Rotate(t.Context(), "box"); err != nil || !shows("own", "held") {
		t.Errorf("a renewal lost the last good file: %v", err)
	}
	other := filepath.Dir(write("other/x", ""))
	w.create(api.CreateRequest{Name: "next", Mounts: []api.Mount{{Source: other, Target: "/m", Writable: true}}})
	w.stop()
	w.run() // and so does the next gateway, which has never seen what does not answer
	write("good", "four")
	w.eventually("the next gateway publishes it", func() bool { return shows("good", "four") && shows("own", "held") })
}
