package gateway

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

// TestRename: a name is free once it is given up, is refused while it is taken, and lasts.
func TestRename(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	one, _ := w.create(api.CreateRequest{Name: "one"}), w.create(api.CreateRequest{Name: "two"})
	w.start("one")
	for _, bad := range []string{"two", "", "-x", "a b"} {
		if _, err := w.client.Rename(t.Context(), "one", bad); err == nil {
			t.Errorf("it is called %q now", bad)
		}
	}
	s, err := w.client.Rename(t.Context(), "one", "three")
	if err != nil || s.Name != "three" || s.ID != one.ID {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := w.client.Rename(t.Context(), "two", "one"); err != nil {
		t.Errorf("the old name is not free: %v", err)
	}
	w.stop()
	w.run()
	if s := w.get("three"); s.ID != one.ID || s.Process.Args != nil {
		t.Errorf("after a restart: %+v", s)
	}
	w.must(w.client.Remove(t.Context(), "three", true))
	w.create(api.CreateRequest{Name: "three"})
}

// TestUpdate: a lifetime is that of the token which is published at once; limits reach the
// driver; what is refused changes nothing.
func TestUpdate(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	s := w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	before := w.get("box")
	short := 10 * time.Minute
	result, err := w.client.Update(t.Context(), "box", api.UpdateRequest{TTL: &short, Restart: &api.RestartPolicy{Name: api.RestartAlways}})
	if err != nil || result.AtNextStart || result.Sandbox.TTL != short || result.Sandbox.Restart.Name != api.RestartAlways {
		t.Fatalf("%+v, %v", result, err)
	}
	now := w.get("box")
	if life := now.Token.ExpiresAt.Sub(now.Token.IssuedAt); now.Token.Generation <= before.Token.Generation || life > short+time.Minute {
		t.Errorf("the token of generation %d lives %v", now.Token.Generation, life)
	}
	tokenOf(t, g, s.Share)

	result, err = w.client.Update(t.Context(), "box", api.UpdateRequest{CPUs: 2, Memory: 1 << 30})
	if err != nil || !result.AtNextStart || result.Sandbox.CPUs != 2 || result.Sandbox.Memory != 1<<30 {
		t.Errorf("%+v, %v", result, err)
	}
	if engine.count("update "+s.ID+" 2 1073741824") != 1 {
		t.Error("the driver was not told")
	}

	engine.failing("update", errors.New("no"))
	tiny := time.Second
	for _, q := range []api.UpdateRequest{
		{CPUs: 3}, {CPUs: -1}, {TTL: &tiny}, {Memory: 2 << 30, TTL: &short}, {Restart: &api.RestartPolicy{Name: "never"}},
	} {
		if _, err := w.client.Update(t.Context(), "box", q); err == nil {
			t.Errorf("taken: %+v", q)
		}
	}
	after := w.get("box")
	if after.CPUs != 2 || after.Memory != 1<<30 || after.TTL != short || after.Restart.Name != api.RestartAlways {
		t.Errorf("a refused change was made: %+v", after)
	}
	w.stop()
	w.run()
	if again := w.get("box"); again.CPUs != 2 || again.TTL != short || again.Restart.Name != api.RestartAlways {
		t.Errorf("after a restart: %+v", again)
	}
}

// TestEvents: what happens to a sandbox is told once, in order, to one who follows and to one
// who asks later.
func TestEvents(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	followed := make(chan api.Event, 100)
	go func() {
		_ = w.client.Events(ctx, time.Time{}, true, func(e api.Event) error { followed <- e; return nil })
	}()
	s := w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	engine.end(s.ID, 3)
	w.eventually("its end is seen", func() bool { return w.get("box").State == api.StateExited })
	w.start("box")
	auth := g.byID(s.ID).Lease.Share().AuthDir()
	w.must(os.Rename(auth, auth+".away"))
	if _, err := w.client.Tokens.Rotate(t.Context(), "box"); err == nil {
		t.Error("a token was published into nothing")
	}
	w.must(os.Rename(auth+".away", auth))
	_, err := w.client.Rename(t.Context(), "box", "crate")
	w.must(err)
	w.must(w.client.Remove(t.Context(), "crate", true))

	want := "renewed create renewed start ended renewed start failed rename ended remove"
	read := func(e api.Event) string {
		if e.ID != s.ID || e.Kind != api.KindSandbox || e.Time.IsZero() {
			t.Errorf("a stray event: %+v", e)
		}
		return e.Action
	}
	var later []string
	w.must(w.client.Events(t.Context(), time.Time{}, false, func(e api.Event) error {
		if e.Action == api.EventEnded && len(later) < 6 && e.Details["exitCode"] != "3" {
			t.Errorf("the end is %+v", e)
		}
		later = append(later, read(e))
		return nil
	}))
	if got := strings.Join(dropRetries(later), " "); got != want {
		t.Errorf("it is told later:\n%s, wanted\n%s", got, want)
	}
	var live []string
	for !slices.Contains(live, api.EventRemoved) {
		select {
		case e := <-followed:
			live = append(live, read(e))
		case <-time.After(patience):
			t.Fatalf("no more events after %v", live)
		}
	}
	if !slices.Equal(live, later) {
		t.Errorf("who followed heard %v, who asked later %v", live, later)
	}
}

// dropRetries leaves out what the retry of a failed renewal may add.
func dropRetries(actions []string) []string {
	failed := false
	return slices.DeleteFunc(slices.Clone(actions), func(a string) bool {
		again := failed && (a == api.EventRenewed || a == api.EventFailed)
		failed = failed || a == api.EventFailed
		return again
	})
}
