package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/share"
)

// TestDeletedStateKeepsRenewing what has its share elsewhere, as in a runtime
// directory on tmpfs: the gateway has the keys, and no other would have them.
func TestDeletedStateKeepsRenewing(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	made := w.create(api.CreateRequest{Name: "one"})
	elsewhere := filepath.Join(w.dir, "elsewhere")
	w.must(os.Mkdir(elsewhere, 0o700))
	s := g.byID(made.ID)
	at, err := share.Create(filepath.Join(elsewhere, made.ID), g.shareOptions(s.rec()))
	w.must(err)
	s.set(func() { s.share = at })
	w.start("one")
	if err := g.deleted(); err != nil {
		t.Fatalf("before: %v", err)
	}
	w.must(os.Remove(filepath.Join(g.home.State, state.LockFile)))
	if err := g.deleted(); err != nil {
		t.Errorf("without its lock alone: %v", err)
	}
	w.eventually("the state directory is deleted", func() bool { return os.RemoveAll(g.home.State) == nil })
	if err := g.deleted(); err != nil {
		t.Errorf("with a share that is left: %v", err)
	}
	before, _ := tokenOf(t, g, at.AuthDir())
	w.must(g.deliver(t.Context(), s, false))
	if now, _ := tokenOf(t, g, at.AuthDir()); now != before+1 {
		t.Errorf("generation %d after %d", now, before)
	}
	w.must(os.RemoveAll(elsewhere))
	if err := g.deleted(); !errors.Is(err, state.ErrDeleted) {
		t.Errorf("with nothing left: %v", err)
	}
}
