package gateway

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
)

// TestCreationsAtOnce: an engine gets a limited number of creations at a time. If it hangs,
// other engines are not delayed. A client that gives up while it waits leaves nothing.
func TestCreationsAtOnce(t *testing.T) {
	slow, other := newFake("slow"), newFake("other")
	slow.blockCreate = make(chan struct{})
	w := newWorld(t, slow, other)
	g := w.run()
	const all = 60
	made := make(chan error, all)
	for i := range all {
		go func() {
			_, err := w.client.Create(t.Context(), api.CreateRequest{Driver: "slow", Name: fmt.Sprint("slow", i), Image: "i"})
			made <- err
		}()
	}
	busy := func() int {
		slow.mu.Lock()
		defer slow.mu.Unlock()
		return slow.creating
	}
	w.eventually("the engine is busy", func() bool { return busy() >= sandbox.MaxCreations })
	if _, err := w.client.Create(t.Context(), api.CreateRequest{Driver: "other", Name: "quick", Image: "i"}); err != nil {
		t.Errorf("another engine's: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := w.client.Create(ctx, api.CreateRequest{Driver: "slow", Name: "given-up", Image: "i"})
		gaveUp <- err
	}()
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	close(slow.blockCreate)
	for range all {
		if err := <-made; err != nil {
			t.Error(err)
		}
	}
	if slow.atMost > sandbox.MaxCreations {
		t.Errorf("%d creations at once, at most %d were to be", slow.atMost, sandbox.MaxCreations)
	}
	if n := len(g.all()); n != all+1 {
		t.Errorf("%d sandboxes are known, %d were made", n, all+1)
	}
}
