package container

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestGate: one at a time is in a sandbox's gate, nobody waits for another sandbox's,
// and a client that goes away while it waits does not come in.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gates
		leave, err := g.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := g.enter(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		other()

		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := g.enter(ctx, "a")
			gone <- err
		}()
		in := make(chan func())
		go func() {
			leave, err := g.enter(t.Context(), "a")
			if err != nil {
				t.Error(err)
			}
			in <- leave
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who went away: %v", err)
		}
		select {
		case <-in:
			t.Fatal("two are in")
		default:
		}
		g.forget("a") // a sandbox that is removed meanwhile: the gate is still the same one
		leave()
		(<-in)()
		if len(g.all) != 0 {
			t.Errorf("left: %v", g.all)
		}
	})
}

// TestGateRemembers the workload's own failure until the next start, and tells all.
func TestGateRemembers(t *testing.T) {
	var g gates
	next, done := g.await("a")
	defer done()
	g.fail("a", startFailure{code: 127, err: errors.New("no such command")})
	if f := <-next; f.code != 127 {
		t.Errorf("told: %+v", f)
	}
	if f, failed := g.failure("a"); !failed || f.code != 127 {
		t.Errorf("remembered: %+v, %v", f, failed)
	}
	leave, err := g.enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	g.forget("a")
	leave()
	if f, failed := g.failure("a"); failed || len(g.all) != 0 {
		t.Errorf("forgotten: %+v, %d gates are left", f, len(g.all))
	}

	engine, done := g.await("a")
	defer done()
	g.fail("a", startFailure{err: errors.New("the engine is gone")})
	if f := <-engine; f.code != 0 || f.err == nil {
		t.Errorf("told: %+v", f)
	}
	if _, failed := g.failure("a"); failed {
		t.Error("the engine's failure is taken for the workload's")
	}
}

// TestGateIsOneForAll: whoever comes and goes, no two are in at once.
func TestGateIsOneForAll(t *testing.T) {
	var g gates
	var all sync.WaitGroup
	inside := 0 // the race detector looks at it too
	for range 50 {
		all.Go(func() {
			leave, err := g.enter(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
			if inside++; inside != 1 {
				t.Errorf("%d are in", inside)
			}
			g.forget("a")
			inside--
		})
	}
	all.Wait()
	if len(g.all) != 0 {
		t.Errorf("left: %v", g.all)
	}
}
