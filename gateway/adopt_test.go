package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// remembers makes the engine tell what a sandbox was made with.
func (f *fake) remembers(id string) {
	box := f.get(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	box.status.Spec = &box.spec
}

// TestAdoptedIsShownInFull, by the API, and by the next gateway too.
func TestAdoptedIsShownInFull(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	made := w.create(api.CreateRequest{Name: "one", Image: "alpine", Stdin: true, CPUs: 1.5, Memory: 1 << 30,
		Process: api.Process{Args: []string{"sleep", "9"}, Terminal: true}})
	w.start("one")
	engine.remembers(made.ID)
	home := w.gateway.home
	w.stop()
	w.must(os.RemoveAll(home.Sandboxes()))
	for range 2 {
		g := w.run()
		v := w.get("one")
		if v.Image != "alpine" || len(v.Process.Args) != 2 || !v.Process.Terminal || v.CPUs != 1.5 || v.Memory != 1<<30 {
			t.Errorf("it is shown as %+v", v)
		}
		if !g.byID(made.ID).Rec().Request.Stdin {
			t.Error("an attach would get no input")
		}
		w.stop()
	}
}

// TestAdoptedTellsOfLostSources: which files nobody keeps fresh any more is said, until somebody
// gives them again.
func TestAdoptedTellsOfLostSources(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	file := filepath.Join(t.TempDir(), "ca.pem")
	w.must(os.WriteFile(file, []byte("one"), 0o600))
	sources := []api.Source{{Name: "ssl/ca.pem", File: file}, {Name: "gh-token", Command: []string{"echo", "x"}}}
	made := w.create(api.CreateRequest{Name: "one", Sources: sources, Tokens: api.Tokens{Files: []api.TokenFile{{Audience: "https://a.example", File: "a.jwt"}}}})
	w.start("one")
	w.put("one", map[string]string{"put": "x"})
	engine.remembers(made.ID)
	home := w.gateway.home
	w.stop()
	w.must(os.Remove(home.RecordPath(made.ID)))
	for range 2 {
		w.run()
		lines := w.get("one").Warnings
		if len(lines) != 1 || !strings.Contains(lines[0], "its record was lost") || !strings.Contains(lines[0], ": gh-token, ssl/ca.pem: give them again") {
			t.Errorf("%q", lines)
		}
		w.stop()
	}
	w.run()
	w.put("one", map[string]string{"other": "x"})
	if lines := w.get("one").Warnings; len(lines) != 1 || !strings.Contains(lines[0], ": gh-token, ssl/ca.pem: give") {
		t.Errorf("another file was put: %q", lines)
	}
	_, err := w.client.Shares.SetSources(t.Context(), "one", api.SourcesRequest{Set: sources[:1]})
	w.must(err)
	if lines := w.get("one").Warnings; len(lines) != 1 || !strings.Contains(lines[0], ": gh-token: give") {
		t.Errorf("one was set: %q", lines)
	}
	w.put("one", map[string]string{"gh-token": "x"})
	if view := w.get("one"); len(view.Warnings) != 0 || len(view.Sources) != 1 {
		t.Errorf("given again: %q, %+v", view.Warnings, view.Sources)
	}
}
