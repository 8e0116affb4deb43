package container

import (
	"context"
	"sync"
	"time"

	"openshell-vm/internal/notice"
)

// gates has a gate for each sandbox that is being started or connected to, or whose
// workload could not be run. The zero value is ready. It is safe for concurrent use.
type gates struct {
	failed notice.Board[startFailure] // for those who are connected already

	mu  sync.Mutex // held for moments only
	all map[string]*gate
}

// gate is one sandbox's. A start and the connecting of a client go through it one at a
// time: a client sees the sandbox either before its start or with what it wrote since.
type gate struct {
	key     chan struct{} // has room for one: full while somebody is in
	users   int           // how many are in or want to be
	failure *startFailure // of the last start; nil where there is none to remember
}

// startFailure is why a start came to nothing.
type startFailure struct {
	code int // 126 or 127 for a workload that can't be run, 0 where it was not its fault
	err  error
	at   time.Time
}

// enter waits until nobody else is in the sandbox's gate. Whoever got in must call leave.
func (g *gates) enter(ctx context.Context, id string) (leave func(), err error) {
	gate := g.join(id)
	select {
	case gate.key <- struct{}{}:
		return func() { <-gate.key; g.part(id, gate) }, nil
	case <-ctx.Done():
		g.part(id, gate)
		return nil, ctx.Err()
	}
}

func (g *gates) join(id string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.of(id)
	gate.users++
	return gate
}

func (g *gates) part(id string, gate *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate.users--
	g.drop(id, gate)
}

// await gives a channel that gets the next failure. done ends the wait, and must be called.
func (g *gates) await(id string) (next <-chan startFailure, done func()) { return g.failed.Await(id) }

// fail tells a failure to who waits for one. The workload's own is remembered too.
func (g *gates) fail(id string, f startFailure) {
	if f.code != 0 {
		g.remember(id, &f)
	}
	g.failed.Tell(id, f)
}

// forget is for a new start, and for a sandbox that is removed.
func (g *gates) forget(id string) { g.remember(id, nil) }

func (g *gates) remember(id string, f *startFailure) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := g.of(id)
	gate.failure = f
	g.drop(id, gate)
}

// failure is why the workload could not be run at the last start.
func (g *gates) failure(id string) (f startFailure, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gate := g.all[id]; gate != nil && gate.failure != nil {
		return *gate.failure, true
	}
	return startFailure{}, false
}

// of makes the gate if there is none. The caller holds mu.
func (g *gates) of(id string) *gate {
	if g.all == nil {
		g.all = map[string]*gate{}
	}
	if g.all[id] == nil {
		g.all[id] = &gate{key: make(chan struct{}, 1)}
	}
	return g.all[id]
}

// drop takes away a gate that nobody is at and that remembers nothing. The caller holds mu.
func (g *gates) drop(id string, gate *gate) {
	if gate.users == 0 && gate.failure == nil {
		delete(g.all, id)
	}
}
