package gateway

import (
	"os"
	"testing"

	"openshell-vm/gateway/api"
)

// TestAdoptedIsShownInFull, by the API, and by the next gateway too.
func TestAdoptedIsShownInFull(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	made := w.create(api.CreateRequest{Name: "one", Image: "alpine", Stdin: true, CPUs: 1.5, Memory: 1 << 30,
		Process: api.Process{Args: []string{"sleep", "9"}, Terminal: true}})
	w.start("one")
	box := engine.get(made.ID)
	engine.mu.Lock()
	box.status.Spec = &box.spec
	engine.mu.Unlock()
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
