package gateway

import (
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// TestAbsentDriver: the sandboxes of a driver that this gateway does not have are renewed and
// shown. Only a forced removal changes anything about them.
func TestAbsentDriver(t *testing.T) {
	made, other := newFake("fake"), newFake("other")
	w := newWorld(t, made)
	w.run()
	s := w.create(api.CreateRequest{Name: "one"})
	w.start("one")
	w.stop()
	w.engines = []drivers.Driver{other}
	g := w.run()
	before, _ := tokenOf(t, g, s.Share)
	for what, err := range map[string]error{
		"rm":    w.client.Remove(t.Context(), "one", false),
		"start": func() error { _, err := w.client.Start(t.Context(), "one"); return err }(),
		"stop":  func() error { _, err := w.client.Stop(t.Context(), "one", 0); return err }(),
	} {
		if e, ok := err.(*api.Error); !ok || !strings.Contains(e.Message, "none of that name") || !strings.Contains(e.Hint, "--force") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if v := w.get("one"); v.State != api.StateUnknown || v.Desired != state.WantRunning || !strings.Contains(v.Reason, "none of that name") {
		t.Errorf("it is shown as %s, %s: %q", v.State, v.Desired, v.Reason)
	}
	if _, err := w.client.Tokens.Rotate(t.Context(), "one"); err != nil {
		t.Errorf("its token: %v", err)
	}
	if now, _ := tokenOf(t, g, s.Share); now <= before || !g.keeper.Renewals().Has(s.ID) {
		t.Errorf("generation %d after %d; it is renewed: %v", now, before, g.keeper.Renewals().Has(s.ID))
	}
	w.stop()

	w.engines = []drivers.Driver{made}
	w.run()
	w.eventually("it runs on under a gateway that has its driver", func() bool { return w.get("one").State == api.StateRunning })
	if n := made.count("start "+s.ID) + made.count("stop "+s.ID); n != 1 {
		t.Errorf("it was started and stopped %d times", n)
	}
	w.stop()

	w.engines = []drivers.Driver{other}
	w.run()
	w.must(w.client.Remove(t.Context(), "one", true))
	if list, err := w.client.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}
