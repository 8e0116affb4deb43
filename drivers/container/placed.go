package container

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/place"
)

// Movable is an Engine that may be found at one of several places.
type Movable interface {
	Place() place.Place
	// Stay names the engine to take where nothing else names one; "" for any.
	Stay(host string)
}

func (d *Driver) Place() (address, note string) { return d.places.asked() }

func (d *Driver) KeepPlace(id, address string) { d.places.keep(id, address) }

// places tells in which engine of its kind each sandbox is. It is safe for concurrent use.
type places struct {
	engine Movable // nil where there is one engine only

	mu sync.Mutex
	of map[string]string // the engines' addresses, by sandbox
	in map[string]int    // how many sandboxes are at each address
}

// asked is the address of the engine that is asked, and a note if it is not the usual one.
func (p *places) asked() (address, note string) {
	if p.engine == nil {
		return "", ""
	}
	place := p.engine.Place()
	if place.Absent != "" {
		note = fmt.Sprintf("%s at %s is taken, for nothing listens at %s; its sandboxes keep this gateway there",
			place.Engine, place.Host, place.Absent)
	}
	return place.Host, note
}

func (p *places) keep(id, address string) {
	if p.engine == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.of[id]
	if before == address {
		return
	}
	p.of[id] = address
	p.in[before]--
	p.in[address]++
	if address == "" {
		delete(p.of, id)
	}
	delete(p.in, "")
	most := ""
	for _, address := range slices.Sorted(maps.Keys(p.in)) { // a few, however many sandboxes there are
		if p.in[address] > p.in[most] {
			most = address
		}
	}
	p.engine.Stay(most)
}

// where says in which engine the sandbox is, which one is asked, and whether they are two.
func (p *places) where(id string) (kept, asked string, other bool) {
	asked, _ = p.asked()
	p.mu.Lock()
	kept = p.of[id]
	p.mu.Unlock()
	return kept, asked, kept != "" && asked != "" && kept != asked
}

// abandoned says that the sandbox is in another engine, whose socket is gone. That
// engine can't be waited for when the sandbox is removed.
func (p *places) abandoned(id string) bool {
	kept, _, other := p.where(id)
	socket := place.Place{Host: kept}.Socket()
	if !other || socket == "" {
		return false
	}
	_, err := os.Lstat(socket)
	return errors.Is(err, fs.ErrNotExist)
}

// said.NotFound is drivers.ErrNotFound, unless the sandbox is in another engine than
// the one that was asked.
func (p *places) notFound(id, engine string) error {
	kept, asked, other := p.where(id)
	if !other {
		return drivers.ErrNotFound
	}
	return &drivers.Error{Op: "look for the container", Err: fmt.Errorf("it is in %s at %s, and %s is asked", engine, kept, asked),
		Hint: "let " + engine + "'s variable or context name " + kept + ", then openshell-vm gateway restart"}
}
