package gateway

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// metadataIn reads what a share says of itself.
func (w *world) metadataIn(dir string) (m contract.Metadata) {
	w.Helper()
	held, err := share.Read(dir)
	w.must(err)
	w.must(json.Unmarshal(held.Files[contract.MetadataName], &m))
	return m
}

// TestKilledBeforePublish: what was dropped or changed right before a gateway was killed is
// published when the next one begins, and not with the next renewal. A share that is as it should be is left alone.
func TestKilledBeforePublish(t *testing.T) {
	w := newWorld(t)
	w.run()
	file := filepath.Join(t.TempDir(), "f")
	w.must(os.WriteFile(file, []byte("one"), 0o600))
	s := w.share(api.ShareRequest{Name: "agent", Sources: []api.Source{{Name: "d/f", File: file}, {Name: "kept", File: file}}})
	w.put("agent", map[string]string{"put": "1", "gone": "1"})
	w.stop()
	before, err := share.Read(s.Dir)
	w.must(err)
	g := w.run()
	if r, _ := g.byID(s.ID).Lease.Renewal(); time.Until(g.keeper.Renewals().At(s.ID)) < time.Minute || r.Generation != before.Generation {
		t.Errorf("a share that is as it should be is due at %v", g.keeper.Renewals().At(s.ID))
	}
	w.must(g.byID(s.ID).UpdateIf(dropFirstSource)) // as a change does before its publish
	w.must(g.home.SaveFiles(s.ID, map[string][]byte{"put": []byte("2")}))
	w.stop()
	w.run()
	w.eventually("what was dropped is gone", func() bool {
		held, err := share.Read(s.Dir)
		return err == nil && held.Files["d/f"] == nil && held.Files["gone"] == nil && string(held.Files["put"]) == "2" &&
			string(held.Files["kept"]) == "one"
	})
}

// TestDroppedSourceStaysAway: a file that had a source is not taken for the user's own, even if
// nothing but the share tells what it was.
func TestDroppedSourceStaysAway(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	file := filepath.Join(t.TempDir(), "f")
	w.must(os.WriteFile(file, []byte("one"), 0o600))
	s := w.share(api.ShareRequest{Name: "agent", Sources: []api.Source{{Name: "d/f", File: file},
		{Name: "kept", Format: "oauth", Command: []string{"echo", `{"access_token":"x","expires_in":3600}`}}}})
	w.put("agent", map[string]string{"put": "1"})
	m := w.metadataIn(s.Dir)
	if len(m.Sources) != 2 || m.Sources[0].File != "d/f" || !m.Sources[0].ExpiresAt.IsZero() || m.Sources[1].File != "kept" ||
		time.Until(m.Sources[1].ExpiresAt) < 50*time.Minute {
		t.Errorf("the metadata has %+v", m.Sources)
	}
	w.stop()
	w.must(os.Truncate(g.home.FilesPath(s.ID), 3))
	g = w.run()
	w.must(g.byID(s.ID).UpdateIf(dropFirstSource))
	w.stop()
	w.run()
	w.eventually("what was dropped is gone", func() bool {
		held, err := share.Read(s.Dir)
		return err == nil && held.Files["d/f"] == nil && string(held.Files["put"]) == "1" && held.Files["kept"] != nil
	})
	if m := w.metadataIn(s.Dir); len(m.Sources) != 1 || m.Sources[0].ExpiresAt.IsZero() {
		t.Errorf("the metadata has %+v", m.Sources)
	}
}

func dropFirstSource(r *state.Record) error {
	r.Request.Sources = r.Request.Sources[1:]
	return nil
}
