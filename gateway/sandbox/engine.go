package sandbox

import (
	"context"
	"fmt"
	"sync"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

const (
	// MaxResumes is how many sandboxes of one engine the reconciler starts at once: a VM's
	// boot keeps a processor busy.
	MaxResumes = 4
	// MaxCreations is how many creations may be under way at once in one engine. Some may
	// be fetching images.
	MaxCreations = 8
)

// engine is what the reconciler knows of one driver.
type engine struct {
	driver drivers.Driver

	mu       sync.Mutex    // held while the engine is asked
	answered bool          // whether it answered the last time; if not, it may have ended sandboxes meanwhile
	looked   chan struct{} // closed once it has answered, or failed to, for the first time

	resumes   chan struct{} // holds one value per resume under way; a start that hangs keeps its place
	creations chan struct{} // holds one value per creation under way
}

func newEngine(d drivers.Driver) *engine {
	return &engine{driver: d, looked: make(chan struct{}), resumes: make(chan struct{}, MaxResumes),
		creations: make(chan struct{}, MaxCreations)}
}

// enter waits for a place for a creation. A creation that waits here has made nothing yet.
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
