package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/share"
)

// toldEngine notes with which generation in their shares its sandboxes are told of a new one.
type toldEngine struct {
	*seeing

	mu    sync.Mutex
	told  []uint64
	under int           // commands that run
	hold  chan struct{} // a command waits for it, if it is not nil
	code  int
	words string // of the last one
}

func newToldEngine() *toldEngine {
	e := &toldEngine{seeing: &seeing{fake: newFake("fake"), seen: map[string]uint64{}}}
	e.staleness = 10 * time.Millisecond
	return e
}

func (e *toldEngine) note(id, words string) error {
	now, err := share.Read(e.get(id).spec.Auth.Source())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told, e.words = append(e.told, now.Generation), words
	return err
}

func (e *toldEngine) Signal(_ context.Context, id string, sig int) error {
	return e.note(id, fmt.Sprint("signal ", sig))
}

func (e *toldEngine) Exec(ctx context.Context, id string, p drivers.Process, _ drivers.Streams) (int, error) {
	err := e.note(id, strings.Join(p.Args, "|")+p.User)
	e.mu.Lock()
	e.under++
	if e.under > 1 {
		err = errors.New("two at once")
	}
	hold := e.hold
	e.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.under--
	return e.code, err
}

func (e *toldEngine) list() ([]uint64, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.told, e.words
}

func (e *toldEngine) with(hold chan struct{}, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hold, e.code = hold, code
}

// tells waits until a sandbox was told so often in all, and expects that it was of this generation
// last, and never of one that it could not read yet.
func (w *world) tells(e *toldEngine, times int, last uint64) {
	w.Helper()
	w.eventually(fmt.Sprintf("it is told %d times", times), func() bool { told, _ := e.list(); return len(told) >= times })
	if told, _ := e.list(); len(told) != times || times > 0 && told[times-1] != last {
		w.Fatalf("it was told of %v, wanted %d in all and %d last", told, times, last)
	}
}

// TestOnRenew: each generation that a sandbox sees while it runs is told once, none at its start, and
// no failure is in the way of the next.
func TestOnRenew(t *testing.T) {
	e := newToldEngine()
	w := newWorld(t, e)
	w.run()
	box := w.create(api.CreateRequest{Name: "box", TTL: time.Hour, OnRenew: api.OnRenew{Command: []string{"reload", "all"}}})
	if box.OnRenew == nil || len(box.OnRenew.Command) != 2 || !box.OnRenew.At.IsZero() {
		t.Errorf("%+v", box.OnRenew)
	}
	w.putNow("box") // before its start
	w.start("box")
	for i := range 5 {
		n := w.putNow("box")
		w.tells(e, i+1, n)
	}
	if _, words := e.list(); words != "reload|all" {
		t.Errorf("it was run as %q", words)
	}
	var last api.OnRenewState
	w.eventually("inspect tells it", func() bool { last = *w.get("box").OnRenew; return last.Generation == w.get("box").Token.Generation })
	if last.At.IsZero() || last.Took <= 0 || last.Problem != "" {
		t.Errorf("%+v", last)
	}

	// What comes while a command runs is told once more, together.
	hold := make(chan struct{})
	e.with(hold, 3)
	n := w.putNow("box")
	w.tells(e, 6, n)
	for range 5 {
		n = w.putNow("box")
		if _, err := w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{Generation: n}); err != nil {
			t.Fatal(err)
		}
	}
	w.tells(e, 6, n-5)
	close(hold)
	w.tells(e, 7, n)
	w.eventually("the failure is told", func() bool { return w.get("box").OnRenew.Problem == "its command exited with 3" })
	w.eventually("it is counted", func() bool { return w.counted("openshell_on_renew_failures_total") == 2 })
	e.with(nil, 0)
	w.tells(e, 7, n)
	n = w.putNow("box")
	w.tells(e, 8, n)
	w.eventually("it is well again", func() bool { s := w.get("box").OnRenew; return s.Problem == "" && s.Generation == n })
	events := 0
	w.must(w.client.Events(t.Context(), time.Time{}, false, func(e api.Event) error {
		if e.Action == api.EventOnRenew {
			events++
		}
		return nil
	}))
	if events != 8 {
		t.Errorf("%d events of 8", events)
	}

	// A start reads what is there.
	_, err := w.client.Stop(t.Context(), "box", 0)
	w.must(err)
	w.start("box")
	n = w.putNow("box")
	w.tells(e, 9, n)
}

// TestOnRenewAfterAGateway: what a sandbox saw while no gateway ran is told by the next one; nothing
// is if it saw nothing since its start.
func TestOnRenewAfterAGateway(t *testing.T) {
	e := newToldEngine()
	w := newWorld(t, e)
	w.run()
	w.create(api.CreateRequest{Name: "box", TTL: time.Hour, OnRenew: api.OnRenew{Signal: "usr1"}})
	w.start("box")
	w.stop()
	w.run()
	w.eventually("it is looked at", func() bool { return w.get("box").Token.SeenGeneration > 0 })
	e.set(true, nil)
	n := w.putNow("box")
	w.stop()
	e.set(false, nil)
	w.tells(e, 0, 0)
	w.run()
	w.tells(e, 1, n)
	if _, words := e.list(); words != "signal 10" {
		t.Errorf("it got %q", words)
	}

	// Where it can't be known what it sees, it is told once it must have seen it.
	e.set(false, fmt.Errorf("%w: it is dark", drivers.ErrNotTold))
	n = w.putNow("box")
	w.tells(e, 2, n)

	// A gateway that lost its records knows of no command: what an engine keeps is not believed.
	w.stop()
	w.must(os.RemoveAll(w.gateway.home.Sandboxes()))
	e.mu.Lock()
	for _, b := range e.boxes {
		b.status.Spec = &b.spec
	}
	e.mu.Unlock()
	w.run()
	if got := w.get("box").OnRenew; got != nil {
		t.Errorf("it is adopted with %+v", got)
	}
}

// TestOnRenewOfARemovedOne: a sandbox may be gone before the end of its command, and forgotten.
func TestOnRenewOfARemovedOne(t *testing.T) {
	e := newToldEngine()
	w := newWorld(t, e)
	w.run()
	box := w.create(api.CreateRequest{Name: "box", TTL: time.Hour, OnRenew: api.OnRenew{Command: []string{"reload"}}})
	w.start("box")
	hold := make(chan struct{})
	e.with(hold, 3)
	w.tells(e, 1, w.putNow("box"))
	w.must(w.client.Remove(t.Context(), "box", true))
	w.eventually("it is gone", func() bool { return w.gateway.roster.ByID(box.ID) == nil })
	w.gateway.onRenew.Tidy()
	close(hold)
	w.eventually("its end is noted", func() bool { return w.counted("openshell_on_renew_failures_total") == 1 })
	if got := w.gateway.onRenew.Of(box.ID, api.OnRenew{Signal: "HUP"}); !got.At.IsZero() {
		t.Errorf("it is known again: %+v", got)
	}
}

// TestOnRenewRefused: what can't be done inside is refused with a line and a hint.
func TestOnRenewRefused(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	for want, asked := range map[string]api.OnRenew{
		"no signal":              {Signal: "FOO"},
		"a signal and":           {Signal: "HUP", Command: []string{"a"}},
		"names no program":       {Command: []string{""}},
		"is too long":            {Command: []string{strings.Repeat("x", 9000)}},
		"has a NUL character":    {Command: []string{"a\x00"}},
		"there is no signal \"0": {Signal: "0"},
	} {
		_, err := w.client.Create(t.Context(), api.CreateRequest{Driver: "fake", OnRenew: asked})
		refused(t, err, api.CodeInvalid, want)
	}
}
