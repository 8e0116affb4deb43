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

// asBefore makes what is recorded look as gateways wrote it that knew absolute
// paths alone.
func (w *world) asBefore(state string) {
	w.Helper()
	w.edit(filepath.Join(state, api.IdentityFile), func(o map[string]any) { delete(o, "stateDir") })
	records, err := filepath.Glob(filepath.Join(state, sandboxesDir, "*", recordFile))
	w.must(err)
	for _, path := range records {
		w.edit(path, func(o map[string]any) {
			if share, _ := o["share"].(string); !strings.HasPrefix(share, state+"/") {
				w.Errorf("an older gateway would not find the share %q", share)
			}
			delete(o, "place")
		})
	}
}

// filled is a stopped gateway's state directory with a share and a sandbox in it.
func filled(t *testing.T, before bool) (w *world, state string) {
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

// goesOn sees that the state directory works where it is now, and that a sandbox
// tells of its move.
func (w *world) goesOn(state string, moves int) {
	w.Helper()
	g := w.run()
	for ref, place := range map[string]string{"agent": "named/agent", "box": "shares/" + g.names["box"].id} {
		s := w.shareOf(ref)
		if want := filepath.Join(state, place, "auth"); s.Dir != want {
			w.Errorf("the share of %s lies in %s, want %s", ref, s.Dir, want)
		}
		before := s.Token.Generation
		_, err := w.client.RotateToken(w.Context(), ref)
		w.must(err)
		if generation, _ := tokenOf(w, g, s.Dir); generation <= before || before == 0 {
			w.Errorf("%s: generation %d after %d", ref, generation, before)
		}
	}
	if warnings := strings.Join(w.get("box").Warnings, "\n"); strings.Count(warnings, "was moved here from") != moves || strings.Contains(warnings, "\n") {
		w.Errorf("box warns: %s", warnings)
	}
	if data, err := os.ReadFile(filepath.Join(state, "named/agent/auth/x")); string(data) != "1" {
		w.Errorf("the file reads %q, %v", data, err)
	}
}

// TestMovedStateDirectory works, one that an older gateway filled too.
func TestMovedStateDirectory(t *testing.T) {
	for name, before := range map[string]bool{"now": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			w, state := filled(t, before)
			moved := filepath.Join(w.dir, "moved")
			w.must(os.Rename(state, moved))
			t.Setenv(api.EnvStateDir, moved)
			w.goesOn(moved, 1)
			w.stop()
			w.goesOn(moved, 1) // once more, with what was written there
			if _, err := os.Stat(state); !isNotExist(err) {
				t.Errorf("something is in the old place: %v", err)
			}
		})
	}
}

// TestCopiedStateDirectory: beside its original a copy is refused in one line, and
// nothing of the original changes; without it, it works.
func TestCopiedStateDirectory(t *testing.T) {
	for name, before := range map[string]bool{"now": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			w, state := filled(t, before)
			copied := filepath.Join(w.dir, "copy")
			w.must(exec.Command("cp", "-a", state, copied).Run())
			current := filepath.Join(state, "named/agent/auth/..data")
			was, err := os.Readlink(current)
			w.must(err)
			t.Setenv(api.EnvStateDir, copied)
			home, err := OpenHome()
			if err == nil {
				home.Close()
				t.Fatal("a copy beside its original is taken")
			}
			if line, hint := Explain(err); !strings.Contains(line, "is a copy of "+state+", which is still there") || hint == "" || strings.Contains(line, "\n") {
				t.Errorf("refused with %q, %q", line, hint)
			}
			if now, err := os.Readlink(current); err != nil || now != was {
				t.Errorf("the original's share is at %s, %v; was at %s", now, err, was)
			}
			w.must(os.RemoveAll(state))
			w.goesOn(copied, 1)
			if _, err := os.Stat(state); !isNotExist(err) {
				t.Errorf("something is in the original's place: %v", err)
			}
		})
	}
}

// TestStateDirectoryByAnotherName is neither moved nor copied.
func TestStateDirectoryByAnotherName(t *testing.T) {
	for name, before := range map[string]bool{"now": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			w, state := filled(t, before)
			parent := filepath.Join(w.dir, "link")
			w.must(os.Symlink(w.dir, parent))
			t.Setenv(api.EnvStateDir, filepath.Join(parent, filepath.Base(state)))
			w.goesOn(filepath.Join(parent, filepath.Base(state)), 0)
		})
	}
}

// A share in the runtime directory is where it was, wherever the state is.
func TestShareOutsideOfState(t *testing.T) {
	h := &Home{State: "/new/state", ID: "gatewayid123"}
	for _, c := range []struct{ share, place, want string }{
		{"/run/openshell-vm/gatewayid123/shares/abc", "", "/run/openshell-vm/gatewayid123/shares/abc"},
		{"/old/state/shares/abc", "", "/new/state/shares/abc"},
		{"/old/state/named/n", "", "/new/state/named/n"},
		{"/old/state/named/n", "named/n", "/new/state/named/n"},
		{"/elsewhere/abc", "", "/elsewhere/abc"},
		{"/old/state/named/n", "../x", ""},
		{"relative", "", ""},
	} {
		r := &Record{ID: "abc", Name: "n", Share: c.share, Place: c.place}
		if err := h.settleShare(r); (err == nil) != (c.want != "") || err == nil && r.Share != c.want {
			t.Errorf("%s, place %q: %s, %v", c.share, c.place, r.Share, err)
		}
	}
}
