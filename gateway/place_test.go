package gateway

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/state"
)

// edit changes a JSON file's object.
func (w *world) edit(path string, change func(map[string]any)) {
	w.Helper()
	data, err := os.ReadFile(path)
	w.must(err)
	var object map[string]any
	w.must(json.Unmarshal(data, &object))
	change(object)
	data, err = json.Marshal(object)
	w.must(err)
	w.must(os.WriteFile(path, data, 0o600))
}

// asBefore gives the records the form of older gateways, which wrote only absolute paths.
func (w *world) asBefore(dir string) {
	w.Helper()
	w.edit(filepath.Join(dir, api.IdentityFile), func(o map[string]any) { delete(o, "stateDir") })
	records, err := filepath.Glob(filepath.Join(dir, "sandboxes", "*", state.RecordFile))
	w.must(err)
	for _, path := range records {
		w.edit(path, func(o map[string]any) {
			if share, _ := o["share"].(string); !strings.HasPrefix(share, dir+"/") {
				w.Errorf("an older gateway would not find the share %q", share)
			}
			delete(o, "place")
		})
	}
}

// filled makes the state directory dir with a share and a sandbox, and stops its gateway.
func filled(t *testing.T, before bool) (w *world, dir string) {
	w = newWorld(t, newFake("fake"))
	g := w.run()
	w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
	w.put("agent", map[string]string{"x": "1"})
	w.create(api.CreateRequest{Name: "box"})
	w.stop()
	if before {
		w.asBefore(g.home.State)
	}
	return w, g.home.State
}

// goesOn expects that the state directory dir works at its new place, and that a sandbox
// warns of the move.
func (w *world) goesOn(dir string, moves int) {
	w.Helper()
	g := w.run()
	for ref, place := range map[string]string{"agent": "named/agent", "box": "shares/" + g.named("box").ID} {
		s := w.shareOf(ref)
		if want := filepath.Join(dir, place, "auth"); s.Dir != want {
			w.Errorf("the share of %s lies in %s, want %s", ref, s.Dir, want)
		}
		before := s.Token.Generation
		_, err := w.client.Tokens.Rotate(w.Context(), ref)
		w.must(err)
		if generation, _ := tokenOf(w, g, s.Dir); generation <= before || before == 0 {
			w.Errorf("%s: generation %d after %d", ref, generation, before)
		}
	}
	if warnings := strings.Join(w.get("box").Warnings, "\n"); strings.Count(warnings, "was moved here from") != moves || strings.Contains(warnings, "\n") {
		w.Errorf("box warns: %s", warnings)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "named/agent/auth/x")); string(data) != "1" {
		w.Errorf("the file reads %q, %v", data, err)
	}
}

// TestMovedStateDirectory: a state directory works after it was moved, even one that an older
// gateway wrote.
func TestMovedStateDirectory(t *testing.T) {
	for name, before := range map[string]bool{"now": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			w, dir := filled(t, before)
			moved := filepath.Join(w.dir, "moved")
			w.must(os.Rename(dir, moved))
			t.Setenv(api.EnvStateDir, moved)
			w.goesOn(moved, 1)
			w.stop()
			w.goesOn(moved, 1) // once more, with what was written there
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("something is in the old place: %v", err)
			}
		})
	}
}

// TestCopiedStateDirectory: while the original exists, a copy is refused in one line and the
// original does not change. Without the original the copy works.
func TestCopiedStateDirectory(t *testing.T) {
	for name, before := range map[string]bool{"now": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			w, dir := filled(t, before)
			copied := filepath.Join(w.dir, "copy")
			w.must(exec.Command("cp", "-a", dir, copied).Run())
			current := filepath.Join(dir, "named/agent/auth/..data")
			was, err := os.Readlink(current)
			w.must(err)
			t.Setenv(api.EnvStateDir, copied)
			home, err := state.Open()
			if err == nil {
				home.Close()
				t.Fatal("a copy beside its original is taken")
			}
			if e := explain.Error(err); !strings.Contains(e.Message, "is a copy of "+dir+", which is still there") || e.Hint == "" || strings.Contains(e.Message, "\n") {
				t.Errorf("refused with %q, %q", e.Message, e.Hint)
			}
			if now, err := os.Readlink(current); err != nil || now != was {
				t.Errorf("the original's share is at %s, %v; was at %s", now, err, was)
			}
			w.must(os.RemoveAll(dir))
			w.goesOn(copied, 1)
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("something is in the original's place: %v", err)
			}
		})
	}
}

// TestStateDirectoryByAnotherName: a state directory that is reached by another path counts
// neither as moved nor as copied.
func TestStateDirectoryByAnotherName(t *testing.T) {
	for name, before := range map[string]bool{"now": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			w, dir := filled(t, before)
			parent := filepath.Join(w.dir, "link")
			w.must(os.Symlink(w.dir, parent))
			t.Setenv(api.EnvStateDir, filepath.Join(parent, filepath.Base(dir)))
			w.goesOn(filepath.Join(parent, filepath.Base(dir)), 0)
		})
	}
}
