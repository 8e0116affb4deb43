package container

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"openshell-vm/drivers"
)

// finder tells which container is a sandbox's. It is safe for concurrent use.
type finder struct {
	engine  Engine
	gateway string
	places  *places

	mu   sync.Mutex
	kept map[string]string // the engine's own ids, by the sandbox's: see drivers.Keeper
}

func (f *finder) keep(id, object string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if object == "" {
		delete(f.kept, id)
		return
	}
	f.kept[id] = object
}

// object is the engine's own id of the sandbox; "" if it is not known.
func (f *finder) object(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept[id]
}

// all are the engine's own ids of all sandboxes of which they are known.
func (f *finder) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.kept))
}

// find inspects the sandbox's container, and no other.
func (f *finder) find(ctx context.Context, id string) (Found, error) {
	ref := f.object(id)
	if ref == "" {
		ref = nameOf(id)
	}
	c, err := f.engine.Inspect(ctx, ref)
	if err != nil && !errors.Is(err, drivers.ErrNotFound) {
		return c, f.engine.Explain("inspect the container", err)
	}
	if err != nil || !f.known(c, id) {
		return Found{}, f.places.notFound(id, f.engine.Name())
	}
	return c, nil
}

// known says whether c is the sandbox's container. If one is kept, it is that one. If
// none is, it must be ours beyond doubt, and is kept from now on.
func (f *finder) known(c Found, id string) bool {
	// An engine also finds a container that was given the id for a name.
	if object := f.object(id); object != "" {
		return c.ID == object
	}
	if !f.ours(c, id) {
		return false
	}
	f.keep(id, c.ID)
	return true
}

// ours says whether a container is the sandbox's by what it shows alone. An image
// can bring labels, but neither a name nor a mount of a share.
func (f *finder) ours(c Found, id string) bool {
	spec := specOf(c)
	if spec == nil || spec.ID != id || spec.GatewayID != f.gateway || c.Name != nameOf(id) ||
		c.Labels[drivers.LabelGatewayID] != f.gateway || c.Labels[drivers.LabelSandboxID] != id {
		return false
	}
	for _, m := range spec.AllShares() {
		writable, mounted := c.Writable[m.Target()]
		if !mounted || writable || c.Sources[m.Target()] != m.Source() {
			return false
		}
	}
	return true
}
