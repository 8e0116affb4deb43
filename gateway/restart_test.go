package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// TestRestartPolicy: a sandbox that ended is started again, each time with a token that
// verifies, as often as its policy allows. What its user ended stays ended.
func TestRestartPolicy(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	var stale atomic.Int32
	engine.onStart = func(spec drivers.Spec) {
		if _, err := w.gateway.readToken(w.gateway.byID(spec.ID), time.Now()); err != nil {
			stale.Add(1)
		}
	}
	policy := func(name, policy string, n int) api.Sandbox {
		s := w.create(api.CreateRequest{Name: name, Restart: api.RestartPolicy{Name: policy, Max: n}})
		w.start(name)
		return s
	}
	starts := func(s api.Sandbox, n int) func() bool {
		return func() bool { return engine.count("start "+s.ID) == n && w.get(s.Name).State == api.StateRunning }
	}

	twice := policy("twice", api.RestartOnFailure, 2)
	for n := 1; n <= 2; n++ {
		expire(t, w.gateway, w.gateway.byID(twice.ID))
		engine.end(twice.ID, 1)
		w.eventually("it is restarted", starts(twice, n+1))
	}
	if s := w.get("twice"); s.Restarts != 2 {
		t.Errorf("%d restarts are told", s.Restarts)
	}
	engine.end(twice.ID, 1)
	w.eventually("it is left", func() bool { s := w.get("twice"); return s.State == api.StateExited && s.Desired == state.WantStopped })
	w.start("twice")
	if s := w.get("twice"); s.Restarts != 0 {
		t.Errorf("%d restarts after a start by the user", s.Restarts)
	}
	engine.end(twice.ID, 0)
	w.eventually("success is left", func() bool { return w.get("twice").Desired == state.WantStopped })

	always := policy("always", api.RestartAlways, 0)
	engine.end(always.ID, 0)
	w.eventually("it is restarted", starts(always, 2))
	w.must(w.client.Signal(t.Context(), "always", 9))
	engine.end(always.ID, 137)
	w.eventually("the killed one is left", func() bool { return w.get("always").Desired == state.WantStopped })
	w.start("always")
	_, err := w.client.Stop(t.Context(), "always", 0)
	w.must(err)
	w.stop()
	w.run()
	if s := w.get("always"); s.State != api.StateExited || engine.count("start "+always.ID) != 3 {
		t.Errorf("after a stop and another gateway: %+v", s)
	}
	if n := stale.Load(); n != 0 {
		t.Errorf("%d starts without a token that verifies", n)
	}
}

// TestRestartingSandbox: while its restart is awaited, it is shown so, is not removed unasked,
// and wait goes on; stop ends all of that.
func TestRestartingSandbox(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	s := w.create(api.CreateRequest{Name: "box", Restart: api.RestartPolicy{Name: api.RestartUnlessStopped}})
	w.start("box")
	for end := time.Now().Add(patience); w.get("box").State != api.StateRestarting; { // the pauses grow
		if time.Now().After(end) {
			t.Fatal("it is never shown as restarting")
		}
		if w.get("box").State == api.StateRunning {
			engine.end(s.ID, 3)
		}
	}
	waited := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		result, err := w.client.Wait(ctx, "box")
		if err == nil && result.ExitCode != 3 {
			err = errors.New("another exit code")
		}
		waited <- err
	}()
	for range 5 { // until the pause is long enough to be met
		if err := w.client.Remove(t.Context(), "box", false); err == nil {
			t.Fatal("it was removed while its restart was awaited")
		}
	}
	select {
	case err := <-waited:
		t.Fatalf("wait ended: %v", err)
	default:
	}
	for w.get("box").State == api.StateRunning { // its last end
		engine.end(s.ID, 3)
	}
	_, err := w.client.Stop(t.Context(), "box", 0)
	w.must(err)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	w.must(w.client.Remove(t.Context(), "box", false))
}
