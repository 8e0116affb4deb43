package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/state"
)

// placed is a driver that asks one of two engines. move makes it ask the other one. It knows
// nothing of the sandboxes in the engine that it does not ask.
type placed struct {
	*fake
	mu    sync.Mutex
	at    string
	note  string
	kept  map[string]string
	other map[string]*box // what is in the other one
}

func (p *placed) Place() (string, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at, p.note
}

func (p *placed) KeepPlace(id, at string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept[id] = at
}

// elsewhere is the error of every method for a sandbox in the other engine.
func (p *placed) elsewhere(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept := p.kept[id]; kept != "" && kept != p.at {
		return &drivers.Error{Op: "look for it", Err: errors.New("it is in " + kept), Hint: "go there"}
	}
	return nil
}

func (p *placed) Inspect(ctx context.Context, id string) (drivers.Status, error) {
	if err := p.elsewhere(id); err != nil {
		return drivers.Status{}, err
	}
	s, err := p.fake.Inspect(ctx, id)
	s.Object = "object of " + id
	return s, err
}

func (p *placed) Remove(ctx context.Context, id string) error {
	if err := p.elsewhere(id); err != nil {
		return err
	}
	return p.fake.Remove(ctx, id)
}

func (p *placed) List(ctx context.Context) ([]drivers.Status, error) {
	list, err := p.fake.List(ctx)
	for i := range list {
		list[i].Object = "object of " + list[i].ID
	}
	return list, err
}

// move goes to the other engine.
func (p *placed) move(at string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	p.at = at
	p.fake.boxes, p.other = p.other, p.fake.boxes
}

// TestAnotherEngineLosesNothing: the next gateway finds another engine, which has none of the
// sandboxes. They may still run in their own engine. So they are renewed, those with --rm
// too, and can't be removed. When their engine is asked again, they are all there.
func TestAnotherEngineLosesNothing(t *testing.T) {
	engine := &placed{fake: newFake("fake"), at: "unix:///one", kept: map[string]string{}, other: map[string]*box{}}
	w := newWorld(t, engine)
	w.run()
	names := []string{"one", "fleeting"}
	ids := map[string]string{}
	for _, name := range names {
		ids[name] = w.create(api.CreateRequest{Name: name, AutoRemove: name == "fleeting"}).ID
		w.start(name)
	}
	w.stop()
	engine.kept = map[string]string{}
	engine.move("unix:///two")
	g := w.run()
	looks := engine.count("list ")
	w.eventually("it has looked for them", func() bool { return engine.count("list ") > looks+1 })
	time.Sleep(sandbox.ReattachTime) // from then on, what has ended is removed
	looks = engine.count("list ")
	w.eventually("it has looked again", func() bool { return engine.count("list ") > looks })
	for _, name := range names {
		s := g.byID(ids[name])
		if s == nil {
			t.Fatalf("%s is removed", name)
		}
		v := w.get(name)
		if v.State == "dead" || !strings.Contains(v.Reason, "unix:///one") || v.Desired != state.WantRunning {
			t.Errorf("%s is shown as %s, %s: %q", name, v.State, v.Desired, v.Reason)
		}
		if plannedFor(g, s.ID).IsZero() {
			t.Errorf("%s is not renewed", name)
		}
		before, _ := tokenOf(t, g, v.Share)
		w.must(s.Deliver(t.Context(), nil))
		if now, _ := tokenOf(t, g, v.Share); now <= before {
			t.Errorf("%s: generation %d after %d", name, now, before)
		}
	}
	if err := w.client.Remove(t.Context(), "one", true); err == nil || !strings.Contains(err.Error(), "unix:///one") {
		t.Errorf("the removal: %v", err)
	}
	w.must(g.byID(ids["one"]).Update(func(r *state.Record) { r.Want(state.WantRunning) })) // the user thinks better of it
	w.stop()

	engine.kept = map[string]string{}
	engine.move("unix:///one")
	w.run()
	for _, name := range names {
		w.eventually(name+" runs", func() bool { return w.get(name).State == "running" })
	}
}

// TestPlaceOfOldRecords: the place of a sandbox is recorded when the sandbox is seen, if an
// older gateway did not record it or if the engine's address has changed.
func TestPlaceOfOldRecords(t *testing.T) {
	engine := &placed{fake: newFake("fake"), at: "unix:///one", kept: map[string]string{}, note: "another one is taken"}
	w := newWorld(t, engine)
	g := w.run()
	made := w.create(api.CreateRequest{Name: "one"})
	if len(made.Warnings) != 1 || made.Warnings[0] != engine.note {
		t.Errorf("it is told %q", made.Warnings)
	}
	s := g.byID(made.ID)
	if at := s.Rec().Engine; at != "unix:///one" {
		t.Errorf("its record says %q", at)
	}
	w.must(s.Update(func(r *state.Record) { r.Object, r.Engine = "", "" }))
	w.stop()
	g = w.run()
	w.eventually("it is written down", func() bool { r := g.byID(made.ID).Rec(); return r.Engine == "unix:///one" && r.Object != "" })
}
