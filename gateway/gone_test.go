package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// TestDeletedStateKeepsRenewing: the state directory is deleted, but a share is elsewhere, as
// in a runtime directory on tmpfs. The gateway goes on renewing it, because no other gateway
// would have the keys.
func TestDeletedStateKeepsRenewing(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	made := w.create(api.CreateRequest{Name: "one"})
	w.stop()
	elsewhere := filepath.Join(w.dir, "elsewhere")
	w.must(os.Mkdir(elsewhere, 0o700))
	w.edit(g.home.RecordPath(made.ID), func(r map[string]any) {
		r["share"] = filepath.Join(elsewhere, made.ID)
		delete(r, "place")
	})
	g = w.run()
	w.start("one")
	s := g.byID(made.ID)
	at := s.Lease.Share()
	if err := g.roster.Deleted(); err != nil {
		t.Fatalf("before: %v", err)
	}
	w.must(os.Remove(filepath.Join(g.home.State, state.LockFile)))
	if err := g.roster.Deleted(); err != nil {
		t.Errorf("without its lock alone: %v", err)
	}
	w.eventually("the state directory is deleted", func() bool { return os.RemoveAll(g.home.State) == nil })
	if err := g.roster.Deleted(); err != nil {
		t.Errorf("with a share that is left: %v", err)
	}
	before, _ := tokenOf(t, g, at.AuthDir())
	w.must(s.Deliver(t.Context(), nil))
	if now, _ := tokenOf(t, g, at.AuthDir()); now != before+1 {
		t.Errorf("generation %d after %d", now, before)
	}
	w.must(os.RemoveAll(elsewhere))
	if err := g.roster.Deleted(); !errors.Is(err, state.ErrDeleted) {
		t.Errorf("with nothing left: %v", err)
	}
}
