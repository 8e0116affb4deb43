package sandbox

import (
	"context"
	"fmt"
	"sync"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

const (
	// MaxResumes may be started at once by one engine: a VM's boot takes a processor.
	MaxResumes = 4
	// MaxCreations may be under way at once in one engine. Some may be fetching images.
	MaxCreations = 8
)

// engine is what the reconciler knows of one driver.
type engine struct {
	driver drivers.Driver

	mu       sync.Mutex    // held while the engine is asked
	answered bool          // the last time; without it, what ended in between is not known to have ended by itself
	looked   chan struct{} // closed once it has answered, or failed to, for the first time

	resumes   chan struct{} // one place per resume that is under way, which a start that hangs keeps
	creations chan struct{} // the same of creations
}

func newEngine(d drivers.Driver) *engine {
	return &engine{driver: d, looked: make(chan struct{}), resumes: make(chan struct{}, MaxResumes),
		creations: make(chan struct{}, MaxCreations)}
}

// enter waits for a place for a creation. Who waits has made nothing yet.
func (e *engine) enter(ctx context.Context) (leave func(), err error) {
	bounded, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	select {
	case e.creations <- struct{}{}:
		return func() { <-e.creations }, nil
	case <-bounded.Done():
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, &api.Error{Code: api.CodeConflict,
		Message: fmt.Sprintf("%s is busy: %d creations have been under way for %v", e.driver.Name(), MaxCreations, startDeadline),
		Hint:    "nothing was done; openshell-vm doctor says how it is"}
}
