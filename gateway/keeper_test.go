package gateway

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// claim puts an object into an engine that claims to be the sandbox id.
func (f *fake) claim(id string, status drivers.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	status.ID = id
	f.boxes[id] = &box{status: status}
}

// An object in another engine that claims to be a sandbox changes nothing: neither a running
// sandbox, nor one with --rm, nor a share of the user's own.
func TestAnotherEnginesClaim(t *testing.T) {
	mine, other := newFake("fake"), newFake("other")
	w := newWorld(t, mine, other)
	w.run()
	kept := w.create(api.CreateRequest{Name: "kept"})
	fleeting := w.create(api.CreateRequest{Name: "fleeting", AutoRemove: true})
	w.start("kept")
	w.start("fleeting")
	decoy := w.create(api.CreateRequest{Name: "decoy", Driver: "other"}) // so that the engine is asked
	w.start("decoy")
	own, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "own"})
	w.must(err)
	for _, id := range []string{kept.ID, fleeting.ID, own.ID} {
		other.claim(id, drivers.Status{State: drivers.Exited, ExitCode: 3})
	}
	asked := other.count("list ")
	w.eventually("the engine was asked again", func() bool { return other.count("list ") > asked+1 })
	for _, ref := range []string{"kept", "fleeting", "decoy"} {
		if s := w.get(ref); s.State != "running" || s.Desired != state.WantRunning {
			t.Errorf("%s: %s, wanted to be %s", ref, s.State, s.Desired)
		}
	}
	if mine.count("stop "+kept.ID)+mine.count("remove "+fleeting.ID)+other.count("remove "+kept.ID) > 0 {
		t.Error("a sandbox was ended for what another engine has")
	}
	if _, err := w.client.Shares.Get(t.Context(), "own"); err != nil {
		t.Errorf("the user's own share: %v", err)
	}
	_ = decoy
}

// keeping is an engine with ids of its own.
type keeping struct {
	*fake
	mu   sync.Mutex
	kept map[string]string
}

func (k *keeping) Keep(id, object string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[id] = object
}

func (k *keeping) all() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.kept)
}

func (k *keeping) Inspect(ctx context.Context, id string) (drivers.Status, error) {
	s, err := k.fake.Inspect(ctx, id)
	s.Object = "object of " + id
	return s, err
}

func (k *keeping) List(ctx context.Context) ([]drivers.Status, error) {
	list, err := k.fake.List(ctx)
	for i := range list {
		list[i].Object = "object of " + list[i].ID
	}
	return list, err
}

// The engine's own id is in the record, and the next gateway tells it to the driver. The
// record of an older gateway gets it when the engine is asked.
func TestObjectIsKept(t *testing.T) {
	k := &keeping{fake: newFake("fake"), kept: map[string]string{}}
	w := newWorld(t, k)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "a"})
	want := "object of " + s.ID
	if got := g.byID(s.ID).Rec().Object; got != want {
		t.Errorf("the record has %q", got)
	}
	w.start("a")
	w.stop()
	w.run()
	if got := k.all()[s.ID]; got != want {
		t.Errorf("the next gateway's driver was told %q", got)
	}
	w.stop()
	record := filepath.Join(w.dir, "state", "sandboxes", s.ID, "sandbox.json")
	data, err := os.ReadFile(record)
	w.must(err)
	old := strings.ReplaceAll(string(data), `"`+want+`"`, `""`)
	if old == string(data) {
		t.Fatalf("no object in %s", data)
	}
	w.must(os.WriteFile(record, []byte(old), 0o600))
	g = w.run()
	w.eventually("the older record has the engine's id", func() bool { return g.byID(s.ID).Rec().Object == want })
	if w.get("a").State != "running" {
		t.Error("it does not run any more")
	}
	// Removed behind the gateway's back and made anew: another object.
	k.forget(s.ID)
	w.eventually("its loss is noticed", func() bool { return g.byID(s.ID).Rec().Lost != "" })
	w.start("a")
	if r := g.byID(s.ID).Rec(); r.Object != want || r.Lost != "" {
		t.Errorf("made anew: %+v", r)
	}
}
