package gateway

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

func TestOneGatewayPerState(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	_, err := state.Open()
	if !errors.Is(err, state.ErrTaken) || drivers.HintOf(err) == "" {
		t.Errorf("a second gateway: %v", err)
	}
	id, socket := g.home.ID, filepath.Join(g.home.Runtime, api.SocketFile)
	w.stop()
	_ = os.Remove(socket)                    // one that was stopped at once may still be about to
	w.must(os.WriteFile(socket, nil, 0o600)) // as a killed one leaves it
	if g = w.run(); g.home.ID != id {
		t.Errorf("the id was %s and is %s", id, g.home.ID)
	}
}

// TestDamagedRecordIsLeftAlone: a damaged record is not changed, and the other sandboxes are
// served.
func TestDamagedRecordIsLeftAlone(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	damaged, newer := w.create(api.CreateRequest{Name: "damaged"}), w.create(api.CreateRequest{Name: "newer"})
	w.create(api.CreateRequest{Name: "fine"})
	home := w.gateway.home
	w.stop()
	for id, text := range map[string]string{damaged.ID: "{", newer.ID: `{"version":99}`} {
		w.must(os.WriteFile(home.RecordPath(id), []byte(text), 0o600))
	}
	w.run()
	all, err := w.client.List(t.Context())
	if err != nil || len(all) != 3 || all[2].Name != "fine" || all[0].State != "unreadable" || all[1].State != "unreadable" {
		t.Errorf("%+v, %v", all, err)
	}
	for _, id := range []string{damaged.ID, newer.ID} {
		if _, err := os.Stat(home.RecordPath(id)); err != nil || engine.count("remove "+id) > 0 || !strings.Contains(w.log.String(), id) {
			t.Errorf("%s was touched, or nobody was told: %v", id, err)
		}
	}
}

func TestEndsWhenIdle(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	id := w.create(api.CreateRequest{Name: "one"}).ID
	w.stop()
	g := w.open()
	g.opts.IdleAfter = 50 * time.Millisecond
	later := time.Now().Add(time.Hour)
	w.must(g.byID(id).Update(func(r *state.Record) { r.Want(state.WantRunning) }))
	if g.idle(later) {
		t.Error("it ends while a sandbox should run")
	}
	w.must(engine.Start(t.Context(), id))
	g.fleet.Freshen(t.Context())
	w.must(g.byID(id).Update(func(r *state.Record) { r.Want(state.WantStopped) }))
	if g.idle(later) {
		t.Error("it ends while a sandbox runs")
	}
	engine.end(id, 0)
	g.fleet.Freshen(t.Context())
	if g.idle(time.Now()) {
		t.Error("it ends right after a need")
	}
	if !g.idle(later) {
		t.Error("it does not end")
	}
	if err := g.Run(t.Context()); err != nil { // ends by itself
		t.Error(err)
	}
}

// TestDeletedSocket: a gateway that nobody can reach ends, with an error, so
// that its supervisor starts another one.
func TestDeletedSocket(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	w.must(os.Remove(g.home.Socket()))
	select {
	case err := <-w.ended:
		if err == nil || !strings.Contains(err.Error(), "deleted") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	w.ended = nil
}

// TestCopiedState: a copied state directory has the id, and so the socket, of a running
// gateway.
func TestCopiedState(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	original := g.home.State
	copied := filepath.Join(w.dir, "copied")
	w.must(os.CopyFS(copied, os.DirFS(original)))
	w.must(filepath.WalkDir(copied, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	}))
	w.edit(filepath.Join(copied, api.IdentityFile), func(o map[string]any) { delete(o, "stateDir") }) // it does not know its original
	t.Setenv(api.EnvStateDir, copied)
	if _, err := state.Open(); err == nil || !strings.Contains(err.Error(), "another state directory") || errors.Is(err, state.ErrTaken) {
		t.Errorf("the copy opens: %v", err)
	}
	_, err := api.Connect(t.Context())
	refused(t, err, api.CodeConflict, original)
	t.Setenv(api.EnvStateDir, original)
	if _, err := w.client.Status(t.Context()); err != nil {
		t.Errorf("the first gateway lost its socket: %v", err)
	}
}
